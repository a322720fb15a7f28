//! This test binary as a child process that writes, is listened to through a pipe, and is killed.

use std::io::{Read, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Comes before what the child tells: what a test binary prints by itself does not.
const MARKER: &[u8] = b"<acknowledged>";

/// Starts the test `the_writer` that lies beside the one that runs, with its orders in an environment variable. Returns when it has called [`begin`].
pub(crate) fn start(variable: &str, orders: &str) -> (Child, ChildStdout) {
    let this = std::thread::current().name().unwrap().to_owned();
    let writer = format!("{}::the_writer", this.rsplit_once("::").unwrap().0);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1", &writer])
        .env(variable, orders)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut said = Vec::new();
    while !said.ends_with(MARKER) {
        let mut byte = [0];
        pipe.read_exact(&mut byte).expect("the writer begins");
        said.push(byte[0]);
    }
    (child, pipe)
}

/// In the child: tells that the store is open. Numbers follow.
pub(crate) fn begin() -> std::io::StdoutLock<'static> {
    let mut out = std::io::stdout().lock();
    out.write_all(MARKER).unwrap();
    out
}
