//! Tries process-wrap for comparison.py, which finds it in the current directory after:
//!
//!     cargo init --name comparison && cargo add process-wrap@8 --features std
//!     cp .../comparison.rs src/main.rs && cargo build --release
//!
//! process-wrap has no timeout: this program stops the process group, as it does for asyncio and psutil.

use process_wrap::std::*;
use std::{env, io::Read, process::Stdio, sync::mpsc, thread, time::{Duration, Instant}};

fn read(mut pipe: impl Read + Send + 'static, done: mpsc::Sender<()>) {
    thread::spawn(move || { let _ = pipe.read_to_end(&mut Vec::new()); let _ = done.send(()); });
}

fn main() {
    let argv: Vec<String> = env::args().skip(1).collect();
    let mut child = StdCommandWrap::with_new(&argv[0], |command| {
        command.args(&argv[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
    }).wrap(ProcessGroup::leader()).spawn().unwrap();
    let (done, closed) = mpsc::channel();
    read(child.stdout().take().unwrap(), done.clone());
    read(child.stderr().take().unwrap(), done);
    let end = Instant::now() + Duration::from_millis(1000);
    let both = (0..2).all(|_| closed.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok());
    if both {
        println!("{}", child.wait().unwrap().code().map_or("null".into(), |code| code.to_string()));
        return;
    }
    let _ = child.signal(15);
    let kill = Instant::now() + Duration::from_millis(500);
    while Instant::now() < kill && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.start_kill();
    println!("null");
}
