//! Watches a child's system calls: whether something made data durable between the beginning of each write and its acknowledgement.
//!
//! 1. The child is attached to with ptrace(2) before it gets its job, and with it every thread that it will ever start. Each stops before and after each system call.
//! 2. [`Mark`]s tell where a write begins and where it has been acknowledged. A write is *covered* if a call that makes data durable began after the one and
//!    succeeded before the other, on whatever thread. The order in which stops are seen is the order of cause and effect: a thread that waits for another one's call cannot
//!    go on before that one is let go.
//! 3. What makes data durable: fsync, fdatasync, syncfs, sync, msync with `MS_SYNC`, and writes to files opened with `O_DSYNC` or `O_SYNC` or with those flags for the
//!    call. `sync_file_range` is none: it does not reach the device's cache, nor the file's own structures.
//! 4. What is submitted to `io_uring` or `io_submit` cannot be seen, and that it was used is said.
//!
//! Not seen either: whether the call was about the file that the write went to. One call too few is noticed, a call in vain is not.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{SIGKILL, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::interrupt::Interrupt;
use crate::cell::marks::Mark;

/// How long to sleep when no thread has stopped. Each call of the child costs up to two of these.
const POLL: Duration = Duration::from_micros(20);

/// What was seen of a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Writes acknowledged.
    pub(crate) acknowledged: u64,
    /// Of these, covered by a call that makes data durable.
    pub(crate) covered: u64,
    /// Such calls, from the first write's beginning to the last one's acknowledgement.
    pub(crate) sync_calls: u64,
    /// Whether calls were submitted that cannot be seen.
    pub(crate) unseen: bool,
}

/// What a system call means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Mark(Mark),
    MakesDurable,
    CannotBeSeen,
    Other,
}

/// Goes through what happened, in its order.
#[derive(Debug, Default)]
struct Watch {
    seen: Seen,
    /// Events so far.
    clock: u64,
    /// When the write under way began, and whether it is covered.
    write: Option<(u64, bool)>,
    /// When each thread's call under way began that makes data durable.
    under_way: HashMap<i32, u64>,
    marked: bool,
    done: bool,
}

impl Watch {
    fn enters(&mut self, thread: i32, call: Call) {
        self.clock += 1;
        match call {
            Call::Mark(Mark::Begin) => {
                self.marked = true;
                self.write = Some((self.clock, false));
            }
            Call::Mark(Mark::Acknowledged) => {
                self.seen.acknowledged += 1;
                self.seen.covered +=
                    u64::from(self.write.take().is_some_and(|(_, covered)| covered));
            }
            Call::Mark(Mark::Done) => self.done = true,
            Call::MakesDurable => {
                self.under_way.insert(thread, self.clock);
            }
            Call::CannotBeSeen => self.seen.unseen = true,
            Call::Other => {}
        }
    }

    /// A thread's call returned; `succeeded` if it did what it was called for.
    fn leaves(&mut self, thread: i32, succeeded: bool) {
        self.clock += 1;
        let Some(entered) = self.under_way.remove(&thread) else { return };
        if !succeeded {
            return;
        }
        self.seen.sync_calls += u64::from(self.marked && !self.done);
        if let Some((began, covered)) = &mut self.write {
            *covered |= entered > *began;
        }
    }
}

/// A child that stops at its system calls. All of it must be used by the thread that attached.
pub(crate) struct Tracer {
    child: Pid,
}

impl Tracer {
    /// Attaches to a child that leads a process group of its own.
    ///
    /// # Errors
    /// If the kernel does not permit it, or cannot do it.
    pub(crate) fn attach(process: u32) -> nix::Result<Self> {
        let child = Pid::from_raw(process.cast_signed());
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(child, options)?;
        // The stop is waited for with all others.
        ptrace::interrupt(child)?;
        Ok(Self { child })
    }

    /// Watches until the child has ended, and reaps it. A child that takes too long, or that the user does not want to wait for, is killed.
    ///
    /// # Errors
    /// If the kernel does not tell what the child does; it is then killed and reaped.
    pub(crate) fn watch(self, interrupt: &Interrupt, timeout: Duration) -> nix::Result<Seen> {
        let seen = self.follow(interrupt, timeout);
        if seen.is_err() {
            gone_is_fine(kill(self.child, SIGKILL))?;
            // Traced threads are reaped one by one, by the tracer alone.
            while waitpid(self.group(), Some(WaitPidFlag::__WALL)) != Err(Errno::ECHILD) {}
        }
        seen
    }

    /// The child and all its threads: its process group has nothing else in it.
    fn group(&self) -> Pid {
        Pid::from_raw(-self.child.as_raw())
    }

    fn follow(&self, interrupt: &Interrupt, timeout: Duration) -> nix::Result<Seen> {
        let began = Instant::now();
        let mut watch = Watch::default();
        let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        loop {
            match waitpid(self.group(), Some(flags)) {
                Ok(WaitStatus::StillAlive) => {
                    if interrupt.requested() || began.elapsed() > timeout {
                        gone_is_fine(kill(self.child, SIGKILL))?;
                    }
                    std::thread::sleep(POLL);
                }
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    gone_is_fine(look(thread, &mut watch))?;
                    gone_is_fine(ptrace::syscall(thread, None))?;
                }
                Ok(WaitStatus::PtraceEvent(thread, ..)) => {
                    gone_is_fine(ptrace::syscall(thread, None))?;
                }
                Ok(WaitStatus::Stopped(thread, signal)) => {
                    gone_is_fine(ptrace::syscall(thread, signal))?;
                }
                Ok(WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..))
                    if thread == self.child =>
                {
                    return Ok(watch.seen);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(watch.seen),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A thread that has stopped may be killed at any moment.
fn gone_is_fine(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ESRCH) => Ok(()),
        other => other,
    }
}

/// Looks at the call that a thread enters or leaves.
fn look(thread: Pid, watch: &mut Watch) -> nix::Result<()> {
    match registers::look(thread)? {
        registers::Stop::Enters { number, arguments } => {
            watch.enters(thread.as_raw(), meaning(thread, number, arguments));
        }
        // Writes of nothing make nothing durable; the calls that return nothing return zero.
        registers::Stop::Leaves { returned, writes } => {
            watch.leaves(thread.as_raw(), returned >= i64::from(writes));
        }
        registers::Stop::Other => {}
    }
    Ok(())
}

/// What a call means.
fn meaning(thread: Pid, number: i64, arguments: [u64; 6]) -> Call {
    let [first, second, third, .., sixth] = arguments;
    let makes_durable = match number {
        libc::SYS_fadvise64 => return Mark::of(second, third).map_or(Call::Other, Call::Mark),
        libc::SYS_io_uring_setup | libc::SYS_io_uring_enter | libc::SYS_io_submit => {
            return Call::CannotBeSeen;
        }
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_syncfs | libc::SYS_sync => true,
        libc::SYS_msync => third & libc::MS_SYNC as u64 != 0,
        libc::SYS_pwritev2 if sixth & (libc::RWF_DSYNC | libc::RWF_SYNC) as u64 != 0 => true,
        number if is_write(number) => writes_through(thread, first),
        _ => false,
    };
    if makes_durable { Call::MakesDurable } else { Call::Other }
}

fn is_write(number: i64) -> bool {
    matches!(
        number,
        libc::SYS_write
            | libc::SYS_pwrite64
            | libc::SYS_writev
            | libc::SYS_pwritev
            | libc::SYS_pwritev2
    )
}

/// Whether a file was opened so that each write waits for the device (`O_SYNC` has the bit of `O_DSYNC`).
fn writes_through(thread: Pid, descriptor: u64) -> bool {
    let info = fs::read_to_string(format!("/proc/{thread}/fdinfo/{descriptor}"));
    let flags = info.ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
        i32::from_str_radix(&line, 8).ok()
    });
    flags.is_some_and(|flags| flags & libc::O_DSYNC != 0)
}

/// The call at which a thread has stopped, from its registers.
mod registers {
    use super::{Pid, is_write, ptrace};

    /// Why a thread has stopped.
    pub(super) enum Stop {
        /// Before a call.
        Enters { number: i64, arguments: [u64; 6] },
        /// After it.
        Leaves { returned: i64, writes: bool },
        /// Neither.
        #[allow(dead_code, reason = "not on every processor")]
        Other,
    }

    #[cfg(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn look(thread: Pid) -> nix::Result<Stop> {
        let info = ptrace::syscall_info(thread)?;
        let registers = ptrace::getregs(thread)?;
        #[cfg(target_arch = "x86_64")]
        let (number, arguments, returned) = (
            registers.orig_rax,
            [
                registers.rdi,
                registers.rsi,
                registers.rdx,
                registers.r10,
                registers.r8,
                registers.r9,
            ],
            registers.rax,
        );
        #[cfg(target_arch = "aarch64")]
        let (number, arguments, returned) = {
            let [a, b, c, d, e, f, ..] = registers.regs;
            (registers.regs[8], [a, b, c, d, e, f], a)
        };
        let number = number.cast_signed();
        Ok(match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => Stop::Enters { number, arguments },
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                Stop::Leaves { returned: returned.cast_signed(), writes: is_write(number) }
            }
            _ => Stop::Other,
        })
    }

    #[cfg(not(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    pub(super) fn look(_thread: Pid) -> nix::Result<Stop> {
        Err(nix::errno::Errno::ENOSYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Call = Call::Mark(Mark::Begin);
    const ACKNOWLEDGED: Call = Call::Mark(Mark::Acknowledged);

    /// A history of calls by thread; none for the return of the thread's call.
    fn seen(history: &[(i32, Option<Call>)]) -> Seen {
        let mut watch = Watch::default();
        for (thread, call) in history {
            match call {
                Some(call) => watch.enters(*thread, *call),
                None => watch.leaves(*thread, true),
            }
        }
        watch.seen
    }

    #[test]
    fn a_sync_within_the_write_covers_it_on_whatever_thread() {
        for syncing in [1, 2] {
            let history = [
                (1, Some(BEGIN)),
                (syncing, Some(Call::MakesDurable)),
                (syncing, None),
                (1, Some(ACKNOWLEDGED)),
            ];
            let expected = Seen { acknowledged: 1, covered: 1, sync_calls: 1, unseen: false };
            assert_eq!(seen(&history), expected);
        }
    }

    #[test]
    fn a_sync_that_began_too_early_or_ended_too_late_covers_nothing() {
        let sync = (2, Some(Call::MakesDurable));
        let early = [sync, (1, Some(BEGIN)), (2, None), (1, Some(ACKNOWLEDGED))];
        assert_eq!(seen(&early).covered, 0);
        let late = [(1, Some(BEGIN)), sync, (1, Some(ACKNOWLEDGED)), (2, None)];
        assert_eq!(seen(&late).covered, 0);
        let between = [
            (1, Some(BEGIN)),
            (1, Some(ACKNOWLEDGED)),
            sync,
            (2, None),
            (1, Some(BEGIN)),
            (1, Some(ACKNOWLEDGED)),
        ];
        assert_eq!((seen(&between).covered, seen(&between).acknowledged), (0, 2));
    }

    #[test]
    fn a_sync_that_failed_covers_nothing() {
        let mut watch = Watch::default();
        watch.enters(1, BEGIN);
        watch.enters(1, Call::MakesDurable);
        watch.leaves(1, false);
        watch.enters(1, ACKNOWLEDGED);
        assert_eq!((watch.seen.covered, watch.seen.sync_calls), (0, 0));
    }

    #[test]
    fn flags_tell_which_calls_make_data_durable() {
        let own = Pid::this();
        let call = |number, arguments| meaning(own, number, arguments);
        assert_eq!(call(libc::SYS_fdatasync, [3, 0, 0, 0, 0, 0]), Call::MakesDurable);
        assert_eq!(call(libc::SYS_sync_file_range, [3, 0, 0, 7, 0, 0]), Call::Other);
        assert_eq!(call(libc::SYS_msync, [0, 4096, libc::MS_ASYNC as u64, 0, 0, 0]), Call::Other);
        assert_eq!(
            call(libc::SYS_msync, [0, 4096, libc::MS_SYNC as u64, 0, 0, 0]),
            Call::MakesDurable
        );
        let flags = libc::RWF_DSYNC as u64;
        assert_eq!(call(libc::SYS_pwritev2, [9999, 0, 1, 0, 0, flags]), Call::MakesDurable);
        assert_eq!(call(libc::SYS_pwritev2, [9999, 0, 1, 0, 0, 0]), Call::Other);
        assert_eq!(call(libc::SYS_io_uring_enter, [0; 6]), Call::CannotBeSeen);
    }

    #[test]
    fn writes_to_files_opened_for_it_make_data_durable() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::OpenOptionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (flags, expected) in [
            (0, Call::Other),
            (libc::O_DSYNC, Call::MakesDurable),
            (libc::O_SYNC, Call::MakesDurable),
        ] {
            let mut options = fs::OpenOptions::new();
            let options = options.write(true).create(true).custom_flags(flags);
            let file = options.open(dir.path().join("file")).unwrap();
            let descriptor = file.as_raw_fd() as u64;
            let arguments = [descriptor, 0, 1, 0, 0, 0];
            assert_eq!(meaning(Pid::this(), libc::SYS_pwrite64, arguments), expected);
        }
    }
}
