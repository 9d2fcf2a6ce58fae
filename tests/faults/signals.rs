//! Signals that would end or suspend the program with outputs as they are, and a terminal that is closed.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::common::gateway::{program_in, wrapped, write_config};
use crate::common::notify::NotifySocket;
use crate::common::quick::folder;
use crate::common::running::{config, devices};
use crate::common::unread::terminal;
use crate::common::{SOON, free_port, send_signal, wait_for, wait_until};

/// The program without a broker, and its log in a file.
struct Service {
    child: Child,
    socket: NotifySocket,
    folder: TempDir,
}

impl Service {
    fn start(wrapper: &[&str], stdin: Stdio) -> Self {
        let folder = folder();
        let socket = NotifySocket::listen(folder.path());
        let wrapper: Vec<String> = wrapper.iter().copied().map(str::to_owned).collect();
        let mut command: Command = wrapped(&wrapper, program_in(folder.path()));
        let text = config(&format!("mqtt://127.0.0.1:{}", free_port()), "", &devices());
        command.arg("run").arg("--config").arg(write_config(folder.path(), &text)).envs([socket.variable()]);
        let log = File::create(folder.path().join("log")).unwrap();
        let child = command.stdin(stdin).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        socket.wait("READY=1", 0, SOON);
        Self { child, socket, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Expects that it ends by itself, in order.
    fn ended(&mut self, why: &str) {
        let status = wait_for(&format!("{why} to end it"), SOON, || self.child.try_wait().unwrap());
        let log = self.log();
        assert!(status.success() && log.contains("Gateway stopped."), "{why}: {status}: {log}");
    }

    fn reloaded(&self, why: &str, times: usize) {
        let reloads = || self.log().matches("Configuration reloaded.").count();
        wait_until(&format!("{why} to reload it"), SOON, || reloads() >= times);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_signal_that_would_end_or_suspend_it_ends_it_in_order() {
    let named = [
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::XCPU,
        Signal::IO,
        Signal::POWER,
        Signal::STKFLT,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
    ];
    let numbers = named.map(Signal::as_raw).into_iter().chain([36, 50, 64]);
    let all: Vec<_> = numbers.map(|number| (number, Service::start(&[], Stdio::null()))).collect();
    for (number, mut service) in all {
        // By the program, since the library has no names for the last three.
        let kill = Command::new("sh").args(["-c", &format!("kill -{number} {}", service.child.id())]).status();
        assert!(kill.unwrap().success());
        service.ended(&format!("signal {number}"));
    }
}

#[test]
fn a_signal_about_what_cannot_be_written_does_nothing() {
    let mut service = Service::start(&[], Stdio::null());
    for signal in [Signal::PIPE, Signal::XFSZ] {
        send_signal(&service.child, signal);
    }
    send_signal(&service.child, Signal::HUP);
    service.reloaded("SIGHUP", 1);
    send_signal(&service.child, Signal::TERM);
    service.ended("SIGTERM");
}

#[test]
fn a_hangup_reloads_until_the_terminal_is_closed_which_ends_it() {
    let (terminal, person) = terminal();
    // The tests themselves may run under nohup.
    let mut service = Service::start(&["env", "--default-signal=HUP", "setsid", "--ctty"], terminal.into());
    send_signal(&service.child, Signal::HUP);
    service.reloaded("SIGHUP", 1);
    drop(person);
    service.ended("the end of the terminal");
    assert!(service.log().contains("The terminal has been closed"), "{}", service.log());
}

#[test]
fn under_nohup_the_end_of_the_terminal_only_reloads() {
    let (terminal, person) = terminal();
    let mut service = Service::start(&["setsid", "--ctty", "nohup"], terminal.into());
    drop(person);
    service.reloaded("the end of the terminal", 1);
    send_signal(&service.child, Signal::TERM);
    service.ended("SIGTERM");
    service.socket.wait("RELOADING=1", 0, SOON);
}

#[test]
fn the_signal_of_a_terminal_that_stops_the_background_ends_it() {
    let (terminal, person) = terminal();
    // A shell with job control puts its job in a group of its own, which is not the one before the terminal.
    let line = "stty tostop; set -m; \"$0\" \"$@\" 2>/dev/tty & echo $! >pid; wait";
    let folder = folder();
    let text = config(&format!("mqtt://127.0.0.1:{}", free_port()), "", &devices());
    let socket = NotifySocket::listen(folder.path());
    let wrapper = ["setsid", "--ctty", "sh", "-c", line].map(str::to_owned);
    let mut command = wrapped(&wrapper, program_in(folder.path()));
    command.arg("run").arg("--config").arg(write_config(folder.path(), &text)).envs([socket.variable()]);
    command.current_dir(folder.path()).stdin(terminal).stdout(Stdio::null()).stderr(Stdio::null());
    let mut shell = command.spawn().unwrap();
    socket.wait("STOPPING=1", 0, SOON);
    let pid: i32 = std::fs::read_to_string(folder.path().join("pid")).unwrap().trim().parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    wait_until("it to end", SOON, || rustix::process::test_kill_process(pid).is_err());
    shell.kill().unwrap();
    shell.wait().unwrap();
    drop(person);
}
