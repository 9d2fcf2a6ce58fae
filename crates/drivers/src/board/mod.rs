//! board: the condition of the machine itself.
//!
//! Temperature of the processor, load, memory, disk and uptime, as the kernel reports them. What a machine does not have,
//! such as a thermal zone in a virtual one, is left out of the reading.

use std::rc::Rc;

use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sysfs::shown;
use fieldgate_bus::{Bus, BusError, Files};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "board",
    summary: "the machine itself: processor temperature, load, memory, disk, uptime",
    page: "\
Wiring: none.

cpu_temperature  of the thermal zone whose type names the processor, else of
                 the first; absent where there is none
load             processes that run or wait for the disk, mean of one minute
memory_used      what programs could not get any more, in percent of the whole
disk_used        of the file system that holds `disk`, as df counts
uptime           since the machine started",
    bus: BusNeed::None,
    settings: &[Field {
        name: "disk",
        kind: Kind::Path,
        need: Need::Default("/"),
        doc: "a path on the file system whose use is measured",
    }],
    claims: |_| Vec::new(),
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![CPU_TEMPERATURE, LOAD, MEMORY_USED, DISK_USED, UPTIME],
        default_every: None,
        build: |bus: &mut dyn Bus, settings| Ok(Box::new(Board::new(bus.files()?, settings)?)),
    },
    example: "\
board:
  driver: board
  every: 60s
  settings: { disk: / }",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("procfs and sysfs")],
};

const CPU_TEMPERATURE: Quantity = Quantity::new("cpu_temperature", "°C", 1);
const LOAD: Quantity = Quantity::new("load", "", 2);
const MEMORY_USED: Quantity = Quantity::new("memory_used", "%", 1);
const DISK_USED: Quantity = Quantity::new("disk_used", "%", 1);
const UPTIME: Quantity = Quantity::new("uptime", "s", 0);

/// The kernel's folder of thermal zones (Documentation/driver-api/thermal/sysfs-api.rst).
const THERMAL: &str = "/sys/class/thermal";

/// What a processor's zone has in its type: `cpu-thermal` on a Raspberry Pi, `soc-thermal`, `x86_pkg_temp`.
const CPU_ZONES: [&str; 3] = ["cpu", "soc", "x86_pkg"];

/// Silicon lives within this; a zone without a sensor behind it says -274 °C and the like.
const CPU_RANGE: std::ops::RangeInclusive<f64> = -60.0..=150.0;

struct Board {
    files: Rc<dyn Files>,
    disk: String,
    /// The temperature file, if there is a thermal zone.
    zone: Option<String>,
}

impl Board {
    fn new(files: Rc<dyn Files>, settings: &Settings) -> Result<Self, DriverError> {
        let zone = cpu_zone(files.as_ref())?;
        Ok(Self { disk: settings.text("disk").to_owned(), zone, files })
    }

    fn cpu_temperature(&self) -> Result<Option<Measurement>, DriverError> {
        let Some(path) = &self.zone else { return Ok(None) };
        // A zone may be switched off, and then refuses to be read.
        let Some(text) = self.read(path)? else { return Ok(None) };
        let value = number(path, &text, Some(&text))? / 1000.0;
        if !CPU_RANGE.contains(&value) {
            return Err(DriverError::OutOfRange { quantity: "cpu_temperature", value });
        }
        Ok(Some(CPU_TEMPERATURE.measured(value)))
    }

    /// proc_loadavg(5), proc_uptime(5): the first number of the file.
    fn first_number(&self, path: &str, quantity: &Quantity) -> Result<Option<Measurement>, DriverError> {
        let Some(text) = self.read(path)? else { return Ok(None) };
        Ok(Some(quantity.measured(number(path, &text, text.split_ascii_whitespace().next())?)))
    }

    /// proc_meminfo(5). `MemAvailable` rather than `MemFree`: the page cache gives way to programs.
    fn memory_used(&self) -> Result<Option<Measurement>, DriverError> {
        const PATH: &str = "/proc/meminfo";
        let Some(text) = self.read(PATH)? else { return Ok(None) };
        let total = number(PATH, &text, memory_line(&text, "MemTotal:"))?;
        let available = number(PATH, &text, memory_line(&text, "MemAvailable:"))?;
        let value = 100.0 * (total - available) / total;
        if !(0.0..=100.0).contains(&value) {
            return Err(DriverError::OutOfRange { quantity: "memory_used", value });
        }
        Ok(Some(MEMORY_USED.measured(value)))
    }

    /// The user named this path, so its absence is an error.
    fn disk_used(&self) -> Result<Option<Measurement>, DriverError> {
        Ok(Some(DISK_USED.measured(self.files.disk_used(&self.disk)?)))
    }

    /// A file, or nothing where this machine has none.
    fn read(&self, path: &str) -> Result<Option<String>, BusError> {
        match self.files.read(path) {
            Err(BusError::Io { .. }) => Ok(None),
            text => text.map(Some),
        }
    }
}

impl Sensor for Board {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let parts = [
            self.cpu_temperature()?,
            self.first_number("/proc/loadavg", &LOAD)?,
            self.memory_used()?,
            self.disk_used()?,
            self.first_number("/proc/uptime", &UPTIME)?,
        ];
        Ok(parts.into_iter().flatten().collect())
    }
}

/// The temperature file of the zone whose type names the processor, else of the first one.
fn cpu_zone(files: &dyn Files) -> Result<Option<String>, BusError> {
    let mut zones = files.list(THERMAL)?;
    zones.retain(|zone| zone.starts_with("thermal_zone"));
    let is_cpu = |zone: &&String| {
        let kind = files.read(&format!("{THERMAL}/{zone}/type")).unwrap_or_default().to_lowercase();
        CPU_ZONES.iter().any(|part| kind.contains(part))
    };
    let zone = zones.iter().find(is_cpu).or_else(|| zones.first());
    Ok(zone.map(|zone| format!("{THERMAL}/{zone}/temp")))
}

/// The number in a line such as `MemTotal:  3884304 kB`.
fn memory_line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()
}

/// `word` of a file whose text is `text`, as a number.
fn number(path: &str, text: &str, word: Option<&str>) -> Result<f64, BusError> {
    let number = word.and_then(|word| word.parse().ok()).filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| BusError::Format {
        path: path.to_owned(),
        found: shown(text),
        expected: "a number where one belongs",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::sysfs::HostBus;
    use fieldgate_model::{Setting, Value};
    use std::fs;
    use std::path::Path;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A Raspberry Pi whose first zone is not the processor.
    fn pi() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("sys/class/thermal/thermal_zone0/type", "gpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "60000\n"),
            ("sys/class/thermal/thermal_zone1/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "48312\n"),
            ("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n"),
            ("proc/loadavg", "0.42 0.36 0.30 2/180 4711\n"),
            ("proc/meminfo", "MemTotal:        4000000 kB\nMemFree:          100 kB\nMemAvailable:    3000000 kB\n"),
            ("proc/uptime", "3600.52 14000.00\n"),
        ] {
            write(root.path(), path, content);
        }
        root
    }

    fn build(root: &Path, disk: &str) -> Box<dyn Sensor> {
        let mut settings = Settings::default();
        settings.insert("disk", Setting::Text(disk.into()));
        let Role::Sensor { build, .. } = SPEC.role else { panic!("a sensor") };
        build(&mut HostBus::at(root), &settings).unwrap()
    }

    fn names(sampled: &[Measurement]) -> Vec<&str> {
        sampled.iter().map(|measurement| measurement.name.as_ref()).collect()
    }

    #[test]
    fn a_board_reports_all_that_the_kernel_knows() {
        let root = pi();
        let sampled = build(root.path(), "/").sample().unwrap();
        assert_eq!(names(&sampled), ["cpu_temperature", "load", "memory_used", "disk_used", "uptime"]);
        let expected = [CPU_TEMPERATURE.measured(48.312), LOAD.measured(0.42), MEMORY_USED.measured(25.0)];
        assert_eq!(sampled[..3], expected);
        assert!(matches!(sampled[3].value, Value::Number { value, .. } if (0.0..=100.0).contains(&value)));
        assert_eq!(sampled[4], UPTIME.measured(3600.52));
    }

    #[test]
    fn a_machine_without_a_thermal_zone_reads_without_a_temperature() {
        let root = pi();
        fs::remove_dir_all(root.path().join("sys")).unwrap();
        assert_eq!(names(&build(root.path(), "/").sample().unwrap()), ["load", "memory_used", "disk_used", "uptime"]);
    }

    #[test]
    fn without_a_zone_of_the_processor_the_first_is_taken() {
        let root = pi();
        write(root.path(), "sys/class/thermal/thermal_zone1/type", "wifi");
        assert_eq!(build(root.path(), "/").sample().unwrap()[0], CPU_TEMPERATURE.measured(60.0));
    }

    #[test]
    fn a_broken_zone_is_out_of_range_and_one_that_is_off_is_left_out() {
        let root = pi();
        let temp = "sys/class/thermal/thermal_zone1/temp";
        let mut board = build(root.path(), "/");
        write(root.path(), temp, "-274000");
        assert!(matches!(board.sample(), Err(DriverError::OutOfRange { quantity: "cpu_temperature", .. })));
        fs::remove_file(root.path().join(temp)).unwrap();
        assert_eq!(names(&board.sample().unwrap()), ["load", "memory_used", "disk_used", "uptime"]);
    }

    #[test]
    fn garbage_is_an_error_that_names_the_file() {
        for (path, content) in [
            ("sys/class/thermal/thermal_zone1/temp", "hot"),
            ("proc/loadavg", ""),
            ("proc/meminfo", "MemTotal: lots"),
            ("proc/meminfo", "MemTotal: 4 kB"),
            ("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 0 kB"),
            ("proc/meminfo", "MemTotal: 1 kB\nMemAvailable: 2 kB"),
            ("proc/uptime", "nan"),
        ] {
            let root = pi();
            write(root.path(), path, content);
            let error = build(root.path(), "/").sample().unwrap_err();
            assert!(error.is_transient(), "{path}: {error}");
        }
    }

    #[test]
    fn any_linux_reports_its_load_memory_disk_and_uptime() {
        let sampled = build(Path::new("/"), "/").sample().unwrap();
        assert!(names(&sampled).ends_with(&["load", "memory_used", "disk_used", "uptime"]), "{sampled:?}");
    }

    #[test]
    fn a_disk_that_is_not_there_is_reported() {
        let root = pi();
        let error = build(root.path(), "/mnt/stick").sample().unwrap_err().to_string();
        assert!(error.contains("/mnt/stick"), "{error}");
    }
}
