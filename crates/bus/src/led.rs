//! A light of the board, by which people find it: the kernel blinks it, and it is what it was afterwards.
//!
//! Lights are files below `/sys/class/leds`. Each has a trigger, such as the activity of the card; `timer` makes it blink once a
//! second (`heartbeat` does so twice), without further help. A program that is killed meanwhile leaves it blinking until the next
//! start of the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

const CLASS: &str = "/sys/class/leds";

/// Names of lights that show what the board does, and of none that a keyboard or a network has. The first one is preferred.
const NAMES: [&str; 6] = ["ACT", "led0", "act", "status", "user", "usr"];

/// What blinks, the preferred one first.
const BLINKS: [&str; 2] = ["timer", "heartbeat"];

/// A thread that ends needs only to write two files.
const END: Duration = Duration::from_millis(200);

/// A light that can be asked to blink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    folder: PathBuf,
    name: String,
}

impl Led {
    /// The light that shows what this board does, if it has one.
    pub fn of_this_board() -> Option<Self> {
        Self::below(Path::new(CLASS))
    }

    fn below(class: &Path) -> Option<Self> {
        let names = fs::read_dir(class).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let rank =
            |name: &String| NAMES.iter().position(|known| name.split([':', '-', '_']).any(|part| is(part, known)));
        let (_, name) = names.filter_map(|name| Some((rank(&name)?, name))).min()?;
        Some(Self { folder: class.join(&name), name })
    }

    /// As the kernel calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.folder.join(file))
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), text)
    }

    /// Makes it blink; returns its trigger and brightness of before.
    fn begin(&self) -> io::Result<(String, String)> {
        let triggers = self.read("trigger")?;
        let all = || triggers.split_whitespace();
        let before = all().find_map(|word| word.strip_prefix('[')?.strip_suffix(']')).unwrap_or("none").to_owned();
        let brightness = self.read("brightness").unwrap_or_default();
        let has = |wanted: &&&str| all().any(|word| word.trim_matches(['[', ']']) == **wanted);
        let blinks =
            BLINKS.iter().find(has).ok_or_else(|| io::Error::other("the kernel has no trigger that blinks"))?;
        self.write("trigger", blinks)?;
        Ok((before, brightness))
    }

    fn end(&self, (trigger, brightness): &(String, String)) -> io::Result<()> {
        self.write("trigger", trigger)?;
        // With a trigger, that decides.
        if trigger == "none" { self.write("brightness", brightness.trim()) } else { Ok(()) }
    }
}

/// `usr0` is `usr`.
fn is(part: &str, known: &str) -> bool {
    part.strip_prefix(known).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A light that blinks, on a thread of its own: a light behind a slow chip must delay nobody.
#[derive(Debug)]
pub struct Blinking {
    longer: SyncSender<Duration>,
    ended: Receiver<()>,
}

impl Blinking {
    /// Makes `led` blink for so long; `begun` hears whether it does.
    ///
    /// # Errors
    /// The kernel gave no thread.
    pub fn start(led: Led, time: Duration, begun: impl FnOnce(io::Result<()>) + Send + 'static) -> io::Result<Self> {
        let (longer, changes) = sync_channel(1);
        let (end, ended) = sync_channel::<()>(1);
        let work = move || {
            let _end = end;
            let before = match led.begin() {
                Ok(before) => before,
                Err(error) => return begun(Err(error)),
            };
            begun(Ok(()));
            let mut time = time;
            // Until the time is over, or nobody is there any more.
            while let Ok(longer) = changes.recv_timeout(time) {
                time = longer;
            }
            if let Err(error) = led.end(&before) {
                tracing::warn!(led = led.name, %error, "The board's light could not be set back.");
            }
        };
        thread::Builder::new().name("identify".into()).spawn(work)?;
        Ok(Self { longer, ended })
    }

    /// Lets it blink for so long from now on; `false` when it has stopped.
    pub fn prolong(&self, time: Duration) -> bool {
        // One that waits already is as good.
        !matches!(self.longer.try_send(time), Err(TrySendError::Disconnected(_)))
    }

    /// Sets the light back, which takes a moment; a light that hangs is left alone.
    pub fn stop(self) {
        drop(self.longer);
        // Nothing comes: the thread drops its end when it is done.
        self.ended.recv_timeout(END).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn board(lights: &[(&str, &str)]) -> tempfile::TempDir {
        let class = tempfile::tempdir().unwrap();
        for (name, trigger) in lights {
            fs::create_dir(class.path().join(name)).unwrap();
            fs::write(class.path().join(name).join("trigger"), trigger).unwrap();
            fs::write(class.path().join(name).join("brightness"), "1\n").unwrap();
        }
        class
    }

    #[test]
    fn the_boards_own_light_is_found_by_its_name_and_no_other() {
        let found = |names: &[&str]| {
            let lights: Vec<_> = names.iter().map(|name| (*name, "")).collect();
            Led::below(board(&lights).path()).map(|led| led.name)
        };
        assert_eq!(found(&["PWR", "ACT", "mmc0::"]).as_deref(), Some("ACT"));
        assert_eq!(found(&["input4::capslock", "led1", "led0"]).as_deref(), Some("led0"));
        assert_eq!(
            found(&["beaglebone:green:usr3", "beaglebone:green:usr0"]).as_deref(),
            Some("beaglebone:green:usr0")
        );
        assert_eq!(found(&["orangepi:red:status"]).as_deref(), Some("orangepi:red:status"));
        assert_eq!(found(&["input4::capslock", "mmc0::", "PWR", "activeled"]), None);
        assert_eq!(Led::below(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_light_blinks_and_is_then_what_it_was() {
        let class = board(&[("ACT", "none timer heartbeat [mmc0]\n")]);
        let led = Led::below(class.path()).unwrap();
        let trigger = || led.read("trigger").unwrap();
        let (report, begun) = mpsc::sync_channel(1);
        let long = Duration::from_secs(600);
        let blinking = Blinking::start(led.clone(), long, move |begun| report.send(begun).unwrap()).unwrap();
        begun.recv().unwrap().unwrap();
        assert_eq!(trigger(), "timer");
        assert!(blinking.prolong(Duration::ZERO));
        blinking.ended.recv().unwrap_err();
        assert_eq!((trigger().as_str(), led.read("brightness").unwrap().as_str()), ("mmc0", "1\n"));
    }

    #[test]
    fn a_light_without_a_trigger_that_blinks_is_left_as_it_is() {
        let class = board(&[("ACT", "[none] mmc0\n")]);
        let led = Led::below(class.path()).unwrap();
        assert!(led.begin().unwrap_err().to_string().contains("no trigger that blinks"));
        assert_eq!(led.read("trigger").unwrap(), "[none] mmc0\n");
        fs::write(class.path().join("ACT/trigger"), "[none] heartbeat").unwrap();
        let before = led.begin().unwrap();
        assert_eq!(led.read("trigger").unwrap(), "heartbeat");
        led.end(&before).unwrap();
        assert_eq!((led.read("trigger").unwrap().as_str(), led.read("brightness").unwrap().as_str()), ("none", "1"));
    }
}
