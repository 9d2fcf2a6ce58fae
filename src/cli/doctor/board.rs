//! The board, its kernel and its clock.

use std::path::{Path, PathBuf};

use crate::cli::doctor::check::{Check, Finding, Verdict};
use crate::cli::doctor::situation::{Board, Situation};
use fieldgate_bus::Files;
use fieldgate_model::ClockStatus;

/// Whether the board's supply voltage has been high enough.
pub(super) const BOARD: Check =
    Check { id: "board", title: "the board and its supply", causes: &["under-voltage"], judge: judge_board };

/// Whether the kernel has what outputs and inputs need.
pub(super) const KERNEL: Check =
    Check { id: "kernel", title: "the kernel's release", causes: &["kernel-too-old"], judge: judge_kernel };

/// Whether the board's clock is set.
pub(super) const CLOCK: Check = Check { id: "clock", title: "the date", causes: &["clock-unset"], judge: judge_clock };

/// The interface of GPIO lines by which edges come with their time (Linux 5.10, gpio-v2).
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Where a Raspberry Pi has its firmware's configuration: from bookworm on, and before.
const CONFIG_TXT: [&str; 2] = ["/boot/firmware/config.txt", "/boot/config.txt"];

fn judge_board(situation: &Situation) -> Verdict {
    let board = &situation.board;
    let model = board.model.clone().unwrap_or_else(|| "a machine that does not name itself".into());
    let low = Finding::new(
        "under-voltage",
        "the supply is too low at this moment; chips and the card fail then, now and again",
        "vcgencmd get_throttled",
    );
    Verdict::of(board.is_undervolted.then_some(low).into_iter().collect(), model)
}

fn judge_kernel(situation: &Situation) -> Verdict {
    let release = &situation.board.kernel;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return Verdict::not_checked(format!("its release {release:?} is not understood"));
    };
    let old = Finding::new(
        "kernel-too-old",
        format!("Linux {release} is older than {}.{}, which GPIO lines need", OLDEST_KERNEL.0, OLDEST_KERNEL.1),
        "sudo apt full-upgrade && sudo reboot",
    );
    Verdict::of(((major, minor) < OLDEST_KERNEL).then_some(old).into_iter().collect(), format!("Linux {release}"))
}

fn judge_clock(situation: &Situation) -> Verdict {
    let unset = Finding::new(
        "clock-unset",
        "nobody has set the clock since the start: readings carry \"clock\":\"unsynchronised\", and every certificate may look \
         too old or too new",
        "sudo timedatectl set-ntp true",
    );
    Verdict::of((situation.clock == ClockStatus::Unsynchronised).then_some(unset).into_iter().collect(), "it is set")
}

/// Looks at the board whose files these are; those of them that are no texts of the kernel are below `root`.
pub(super) fn gather(files: &dyn Files, root: &Path) -> Board {
    let hwmon = files.list("/sys/class/hwmon").unwrap_or_default();
    let read = |entry: &String, file: &str| files.read(&format!("/sys/class/hwmon/{entry}/{file}")).ok();
    let is_low = |entry: &String| {
        read(entry, "name").as_deref() == Some("rpi_volt") && read(entry, "in0_lcrit_alarm").as_deref() == Some("1")
    };
    let is_there = |place: &&&str| root.join(place.trim_start_matches('/')).is_file();
    Board {
        model: files.read("/proc/device-tree/model").ok(),
        kernel: files.read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        is_undervolted: hwmon.iter().any(is_low),
        config_txt: CONFIG_TXT.iter().find(is_there).map(PathBuf::from),
    }
}
