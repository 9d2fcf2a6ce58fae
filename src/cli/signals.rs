//! Signals: which end the service in an orderly way, and which reload it.
//!
//! Left alone, most signals end a program at once, and some stop it; outputs would stay as they are, with nobody to watch
//! their limits. So each that can be received and does not report a defect of the program ends it as SIGTERM does. Not received
//! are SIGKILL and SIGSTOP, which nobody can, and those by which the kernel, or systemd's watchdog, ends a program that is
//! broken (SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP): there `safe-state` must do the rest.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tracing::info;

/// A signal that comes so soon after the first belongs to it: timeout(1), for one, signals the program and then its whole group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// A shell that ends signals its jobs shortly before the terminal goes.
const TERMINAL_GOES: Duration = Duration::from_millis(200);

/// By these somebody asks for the end, and asks again when it takes too long.
const ASKS: [(Number, &str); 3] = [(Number::TERM, "SIGTERM"), (Number::INT, "SIGINT"), (Number::QUIT, "SIGQUIT")];

/// These would end the program, the last three stop it. A program in the background that writes to its terminal may be sent
/// SIGTTOU again and again until it has ended, so a second one of these means nothing.
const ENDS: [(Number, &str); 12] = [
    (Number::USR1, "SIGUSR1"),
    (Number::USR2, "SIGUSR2"),
    (Number::ALARM, "SIGALRM"),
    (Number::VTALARM, "SIGVTALRM"),
    (Number::PROF, "SIGPROF"),
    (Number::XCPU, "SIGXCPU"),
    (Number::IO, "SIGIO"),
    (Number::POWER, "SIGPWR"),
    (Number::STKFLT, "SIGSTKFLT"),
    (Number::TSTP, "SIGTSTP"),
    (Number::TTIN, "SIGTTIN"),
    (Number::TTOU, "SIGTTOU"),
];

/// The signals without a name. The C libraries keep the first two or three for themselves.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Signals that the service obeys.
pub(super) struct Signals {
    received: Vec<(Signal, SignalMeaning)>,
    hangup_is_end: bool,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalMeaning {
    /// Somebody wants the end.
    Stop,
    /// The signal would have ended or stopped the program.
    End(&'static str),
    /// A new configuration, or the terminal has been closed.
    Hangup,
}

impl Signals {
    /// From now on no signal ends the program.
    pub(super) fn listen() -> io::Result<Self> {
        let kind = |number: Number| SignalKind::from_raw(number.as_raw());
        let mut received = Vec::new();
        for (number, _) in ASKS {
            received.push((signal(kind(number))?, SignalMeaning::Stop));
        }
        for (number, name) in ENDS {
            received.push((signal(kind(number))?, SignalMeaning::End(name)));
        }
        received.extend(REAL_TIME.filter_map(|number| {
            Some((signal(SignalKind::from_raw(number)).ok()?, SignalMeaning::End("a real-time signal")))
        }));
        // A file of the spool that grows beyond a limit of the system is a disk that does not take more. A handler is enough: the
        // write then fails and the spool's rules for such disks apply.
        drop(signal(kind(Number::XFSZ))?);
        // Read before the handler is there. nohup(1) sets the signal aside, since the program is to outlive its terminal.
        let hangup_is_end = has_terminal(&own("stat")) && !ignores_hangup(&own("status"));
        received.push((signal(SignalKind::hangup())?, SignalMeaning::Hangup));
        Ok(Self { received, hangup_is_end })
    }

    /// Waits for a signal. Cancel-safe: a signal that is not taken here is taken at the next call.
    pub(super) async fn next(&mut self) -> SignalMeaning {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<SignalMeaning> {
        let mut asked = None;
        for (signal, means) in &mut self.received {
            // Each must be polled, or it would not wake us.
            if asked.is_none() && signal.poll_recv(context).is_ready() {
                asked = Some(*means);
            }
        }
        asked.map_or(Poll::Pending, Poll::Ready)
    }

    /// After [`SignalMeaning::Hangup`]: whether the terminal on which the program was started is gone.
    pub(super) async fn terminal_closed(&self) -> bool {
        if !self.hangup_is_end {
            return false;
        }
        if has_terminal(&own("stat")) {
            tokio::time::sleep(TERMINAL_GOES).await;
        }
        !has_terminal(&own("stat"))
    }

    /// Waits for a second request to end.
    pub(super) async fn stop_again(&mut self) {
        let same = async {
            loop {
                self.next().await;
            }
        };
        let Err(_elapsed) = timeout(SAME_SIGNAL, same).await;
        while self.next().await != SignalMeaning::Stop {}
    }
}

impl SignalMeaning {
    /// Logs which signal it was, where that is not obvious.
    pub(super) fn explain(self) {
        match self {
            Self::Stop => {}
            Self::End(signal) => info!(signal, "This signal ends the service as SIGTERM does."),
            Self::Hangup => info!("The terminal has been closed; this ends the service as SIGTERM does."),
        }
    }
}

/// What the kernel says of this process; nothing where there is no /proc.
fn own(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default()
}

/// Whether a process has a controlling terminal, by its line in /proc/PID/stat: behind the name in parentheses stand its state,
/// parent, group, session and terminal (proc_pid_stat(5)).
fn has_terminal(stat: &str) -> bool {
    let terminal = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(4));
    terminal.is_some_and(|terminal| terminal != "0")
}

/// Whether SIGHUP, the first signal, is ignored, by /proc/PID/status.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).is_ok_and(|bits| bits & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controlling_terminal_is_seen_in_stat() {
        assert!(has_terminal("71 (field) gate) S 1 71 71 34816 71 4194304"));
        assert!(!has_terminal("71 (fieldgate) S 1 71 71 0 -1 4194304"));
        assert!(!has_terminal(""));
    }

    #[test]
    fn a_hangup_that_is_set_aside_is_seen_in_status() {
        assert!(ignores_hangup("Name:\tfieldgate\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n"));
        assert!(!ignores_hangup("Name:\tfieldgate\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
