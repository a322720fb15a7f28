//! One cell's process, seen from the parent.
//!
//! The child is a process group of its own, so that Ctrl-C at the terminal reaches only the parent, and dies with its parent. It must be
//! started from a thread that lives as long as the run: the kernel ties it to the thread.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use kvdyno_reports::CellStatus;
use rustix::process::{Pid, Signal};

use super::interrupt::Interrupt;
use super::memory_group::MemoryGroup;
use crate::cell::job::{Job, Message, Outcome};
use crate::failure::{Failure, Result};

/// How often the parent looks whether the user wants to stop.
const POLL: Duration = Duration::from_millis(50);
/// How often the parent looks whether a child is to be killed.
const DUE_POLL: Duration = Duration::from_millis(2);
/// How long a child that was asked to stop may take to settle and to tell.
const GRACE: Duration = Duration::from_secs(30);

/// A running child.
pub(crate) struct ChildProcess {
    child: Child,
    /// Dropped after the child has ended.
    memory: Option<MemoryGroup>,
    messages: Receiver<Message>,
    last_words: std::thread::JoinHandle<String>,
}

impl ChildProcess {
    /// Starts a child on a job.
    pub(crate) fn start(job: &Job) -> Result<Self> {
        let mut process = Self::spawn(job.memory_limit_bytes)?;
        process.send(job)?;
        Ok(process)
    }

    /// Starts a child that waits for its job, which has this much memory.
    pub(crate) fn spawn(memory_limit_bytes: Option<u64>) -> Result<Self> {
        let failed = |error| Failure::failed(format!("cannot start the cell's process: {error}"));
        let memory = memory_limit_bytes.map(MemoryGroup::create).transpose()?;
        // Also right when the program's file has been replaced since it was started.
        let mut child = Command::new("/proc/self/exe")
            .arg0("kvdyno")
            .arg("cell")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        if let Some(group) = &memory
            && let Err(failure) = group.admit(child.id())
        {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failure);
        }
        let (sender, messages) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || read_messages(stdout, &sender));
        }
        let stderr = child.stderr.take();
        let last_words = std::thread::spawn(move || stderr.map(last_line).unwrap_or_default());
        Ok(Self { child, memory, messages, last_words })
    }

    /// Gives it its job.
    pub(crate) fn send(&mut self, job: &Job) -> Result<()> {
        let line = serde_json::to_string(job).map_err(|error| {
            Failure::failed(format!("cannot describe the cell to its process: {error}"))
        })?;
        // If the child is dead already, its end is noticed by whoever waits for it.
        if let Some(stdin) = &mut self.child.stdin {
            let _ = writeln!(stdin, "{line}");
        }
        Ok(())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the child says that it has begun, and from then on until it is due; then kills it. Returns an outcome if it ended by itself.
    pub(crate) fn kill_when(
        mut self,
        mut due: impl FnMut() -> bool,
        interrupt: &Interrupt,
        timeout: Duration,
    ) -> Option<Outcome> {
        let started = Instant::now();
        let mut begun = false;
        loop {
            if begun && due() {
                self.kill();
                return None;
            }
            if interrupt.requested() {
                self.kill();
                return Some(Outcome::without_figures(
                    CellStatus::Interrupted,
                    "stopped by the user",
                ));
            }
            if started.elapsed() > timeout {
                self.kill();
                return Some(timed_out(timeout));
            }
            match self.messages.recv_timeout(if begun { DUE_POLL } else { POLL }) {
                Ok(Message::Progress { .. }) => begun = true,
                Ok(Message::Ended(outcome)) => {
                    self.kill();
                    return Some(*outcome);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(self.died()),
            }
        }
    }

    /// Waits for the outcome. Passes on the user's wish to stop, and kills the child when it takes longer than `timeout`.
    pub(crate) fn wait(
        mut self,
        interrupt: &Interrupt,
        timeout: Duration,
        mut progress: impl FnMut(&Message),
    ) -> Outcome {
        let started = Instant::now();
        let mut asked_to_stop: Option<Instant> = None;
        loop {
            match self.messages.recv_timeout(POLL) {
                Ok(Message::Ended(outcome)) => {
                    let _ = self.child.wait();
                    return *outcome;
                }
                Ok(message) => progress(&message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.died(),
            }
            if interrupt.requested() && asked_to_stop.is_none() {
                asked_to_stop = Some(Instant::now());
                self.signal(Signal::INT);
            }
            if interrupt.insisted() || asked_to_stop.is_some_and(|asked| asked.elapsed() > GRACE) {
                self.kill();
                return Outcome::without_figures(CellStatus::Interrupted, "stopped by the user");
            }
            if started.elapsed() > timeout {
                self.kill();
                return timed_out(timeout);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The outcome of a child that ended without a word.
    fn died(mut self) -> Outcome {
        let status = self.child.wait();
        let last_words = self.last_words.join().unwrap_or_default();
        let how = match status {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(9), _) if self.memory.as_ref().is_some_and(MemoryGroup::was_exceeded) => {
                    "needed more memory than --memory-limit allows, and was killed".to_owned()
                }
                (Some(9), _) => "was killed (out of memory?)".to_owned(),
                (Some(signal), _) => format!("died of signal {signal}"),
                (None, code) => format!("ended with status {}", code.unwrap_or_default()),
            },
            Err(error) => format!("is lost: {error}"),
        };
        let separator = if last_words.is_empty() { "" } else { ": " };
        Outcome::without_figures(
            CellStatus::Failed,
            format!("the cell's process {how}{separator}{last_words}"),
        )
    }
}

fn timed_out(timeout: Duration) -> Outcome {
    let error = format!("took longer than {}", humantime::format_duration(timeout));
    Outcome::without_figures(CellStatus::Timeout, error)
}

/// Passes messages on until the child closes its output. Lines that are none (an engine that prints) are dropped.
fn read_messages(stdout: ChildStdout, sender: &Sender<Message>) {
    for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
        if let Ok(message) = serde_json::from_str(&line)
            && sender.send(message).is_err()
        {
            return;
        }
    }
}

/// Reads until the end, and returns the last line that is not empty.
fn last_line(mut stderr: ChildStderr) -> String {
    const KEPT_BYTES: usize = 4096;
    let mut kept = Vec::new();
    let mut buffer = [0; KEPT_BYTES];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with("note:"))
        .unwrap_or_default()
        .to_owned()
}
