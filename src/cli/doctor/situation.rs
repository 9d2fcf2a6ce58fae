//! All facts that the checks judge. `gather` fills them in, and a test can describe them.

use std::net::SocketAddr;
use std::path::PathBuf;

use fieldgate_bus::BusSpec;
use fieldgate_link::{Step, Transport, Visit};
use fieldgate_model::ClockStatus;
use fieldgate_spool::Inspection;

/// Everything that the checks judge.
#[derive(Debug)]
pub struct Situation {
    /// The file that was asked about.
    pub path: PathBuf,
    /// Whether the gateway can run with that file.
    pub configuration: ConfigurationFacts,
    /// The board and its kernel.
    pub board: Board,
    /// Whether the clock is set.
    pub clock: ClockStatus,
    /// Whose rights count: the service's user, or who runs this where there is no service.
    pub account: Account,
    /// The buses of the configuration that are wired to the board; nothing without a configuration.
    pub buses: Option<Vec<BusFacts>>,
    /// Addresses of the configuration that a driver of the kernel has bound.
    pub bound: Vec<Bound>,
    /// Lines of the configuration that others use, or why that cannot be seen.
    pub lines: Result<Vec<LineInUse>, String>,
    /// The spool and its disk; nothing without a configuration, or where the disk does not answer.
    pub storage: Option<Storage>,
    /// systemd's view of the service.
    pub unit: UnitFacts,
    /// How far the way to each broker led; nothing without a configuration.
    pub brokers: Option<Vec<BrokerFacts>>,
    /// The page for browsers; nothing without `http:` or without a configuration.
    pub page: Option<PageFacts>,
    /// Whether root looks, who may see all of this.
    pub is_root: bool,
    /// `B`, where a configuration says it.
    pub base_topic: String,
}

/// What was found at the configuration's path.
#[derive(Debug)]
pub enum ConfigurationFacts {
    /// There is no such file.
    Missing,
    /// Who runs this may not read it.
    Denied,
    /// The gateway cannot run with it.
    Broken {
        /// How many problems it has.
        problems: usize,
        /// The first, without secrets.
        first: String,
    },
    /// The gateway can run with it.
    Loaded {
        /// Why one that a request carried is not in force, where a person should look after that.
        stored: Option<String>,
        /// Whose it is and who may read it.
        rights: Rights,
    },
}

/// The board and its kernel.
#[derive(Debug, Default)]
pub struct Board {
    /// What it calls itself.
    pub model: Option<String>,
    /// The kernel's release: `6.1.0-rpi7`.
    pub kernel: String,
    /// Whether its supply is too low now, as the kernel has last asked.
    pub is_undervolted: bool,
    /// The firmware's configuration, of a Raspberry Pi.
    pub config_txt: Option<PathBuf>,
}

/// A user with his groups.
#[derive(Debug, Default)]
pub struct Account {
    /// The name of the user.
    pub name: String,
    /// The number; nothing where there is no such user.
    pub uid: Option<u32>,
    /// Numbers of the groups that count.
    pub groups: Vec<u32>,
    /// Groups that the unit names and that do not exist.
    pub absent_groups: Vec<String>,
    /// Whether it is the service's, rather than that of who runs this.
    pub is_of_service: bool,
}

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The permission bits, as in `chmod`.
    pub mode: u32,
    /// The number of the user who owns it.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

impl Account {
    /// Whether this user may do all of `wanted`, in the bits of others (4 read, 2 write, 1 enter).
    pub fn may(&self, wanted: u32, of: Rights) -> bool {
        let granted = match self.uid {
            Some(0) => 7,
            Some(uid) if uid == of.uid => of.mode >> 6,
            _ if self.groups.contains(&of.gid) => of.mode >> 3,
            _ => of.mode,
        };
        granted & wanted == wanted
    }
}

/// A bus that is wired to the board.
#[derive(Debug)]
pub struct BusFacts {
    /// Its name in the configuration.
    pub name: String,
    /// The kind of bus.
    pub spec: &'static BusSpec,
    /// The file that is opened, or the folder where the kernel would show it.
    pub path: PathBuf,
    /// Who may use it; nothing where it is not there.
    pub rights: Option<Rights>,
    /// The name of its group, where it has one.
    pub group: Option<String>,
    /// Whether the hardware is there and only its device file is not.
    pub lacks_module: bool,
    /// Whether config.txt switches it on already.
    pub is_written: bool,
    /// Who of the system uses it, with the remedy.
    pub in_use: Option<String>,
}

/// An address that a driver of the kernel has bound.
#[derive(Debug)]
pub struct Bound {
    /// The sensor or output of the configuration.
    pub device: String,
    /// The 7-bit address.
    pub address: u8,
    /// The device file of the adapter, such as `/dev/i2c-1`.
    pub adapter: PathBuf,
    /// The name of the kernel's driver.
    pub driver: String,
}

/// A line that another program uses.
#[derive(Debug)]
pub struct LineInUse {
    /// The sensor or output of the configuration.
    pub device: String,
    /// As it is written there.
    pub line: String,
    /// The device file of the GPIO chip.
    pub chip: PathBuf,
    /// Who uses it, as the kernel knows it.
    pub holder: String,
}

/// The spool and its disk.
#[derive(Debug)]
pub struct Storage {
    /// The spool's folder.
    pub path: PathBuf,
    /// Why it cannot be used, in the spool's own words.
    pub trouble: Option<String>,
    /// Who may use it; nothing where it is not there yet.
    pub rights: Option<Rights>,
    /// Whether the disk is mounted read-only.
    pub is_read_only: bool,
    /// Whether no file can be made any more although there is space.
    pub lacks_inodes: bool,
    /// What its database looks like from outside.
    pub inspection: Inspection,
}

/// systemd's view of the service.
#[derive(Debug)]
pub enum UnitFacts {
    /// Another program starts the services here.
    NoSystemd,
    /// systemctl gave no answer; why.
    NoAnswer(String),
    /// There is no such unit.
    Absent,
    /// The unit is masked, so that systemd refuses to start it.
    Masked,
    /// The unit is there.
    Loaded(Unit),
}

/// A unit, in the words of systemctl(1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `active`, `activating`, `failed`, …
    pub active: String,
    /// `running`, `auto-restart`, `dead`, …
    pub sub: String,
    /// `enabled`, `disabled`, …
    pub enabled: String,
    /// `success`, `exit-code`, …
    pub result: String,
    /// The last exit code.
    pub exit_code: i32,
    /// The process; 0 without one.
    pub main_pid: u32,
    /// The user; empty for root.
    pub user: String,
    /// The group; empty for the user's.
    pub group: String,
    /// The names of further groups, from `SupplementaryGroups=`.
    pub groups: Vec<String>,
}

impl UnitFacts {
    /// The unit, where there is one that may run.
    pub fn loaded(&self) -> Option<&Unit> {
        match self {
            Self::Loaded(unit) => Some(unit),
            _ => None,
        }
    }
}

/// The page for browsers.
#[derive(Clone, Copy, Debug)]
pub struct PageFacts {
    /// Where it is to be.
    pub listen: SocketAddr,
    /// Whether somebody answers there.
    pub is_served: bool,
}

/// How far the way to a broker led.
#[derive(Debug)]
pub struct BrokerFacts {
    /// How far the way led, and what was heard there.
    pub visit: Visit,
    /// The last step that could be tried.
    pub last: Step,
    /// How bytes travel to it.
    pub transport: Transport,
    /// Its host; empty for a socket.
    pub host: String,
    /// Its port; 0 for a socket.
    pub port: u16,
    /// The user at it.
    pub user: Option<String>,
    /// The credential with the password, where it is one.
    pub credential: Option<String>,
}
