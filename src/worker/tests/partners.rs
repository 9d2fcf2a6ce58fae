//! Outputs that wait for others at the end.

use super::*;
use fieldgate_drivers::Actuator;
use fieldgate_safety::Pair;

const LINES: [&str; 6] = ["GPIO5", "GPIO6", "GPIO13", "GPIO19", "GPIO26", "GPIO27"];
const DEAD_TIME: Duration = Duration::from_secs(1);

/// Nobody drives the partners, as on a bus that hangs: nobody has seen them off. Outputs that wait one after the other take that time
/// always, and no machine is so late each time.
#[tokio::test]
async fn outputs_that_wait_for_partners_at_the_end_wait_together() {
    let one_after_the_other = DEAD_TIME * u32::try_from(LINES.len()).unwrap();
    let mut all_took = Vec::new();
    while all_took.iter().all(|took| *took >= one_after_the_other) {
        assert!(all_took.len() < 10, "{all_took:?}");
        all_took.push(ending_of_those_that_wait().await);
    }
}

async fn ending_of_those_that_wait() -> Duration {
    let mains = |line: &str| ActuatorSettings {
        name: name(&line.to_lowercase()),
        limits: Limits::new(Action::Set(OutputValue::Switch(true)), None),
        settings: settings(&[("line", Setting::Text(line.into())), ("active_low", Setting::Flag(false))]),
        ..pump(None)
    };
    let outputs: Vec<_> = LINES.iter().map(|line| mains(line)).collect();
    let hung = |output: &ActuatorSettings| name(&format!("{}-hung", output.name));
    let pair = |output: &ActuatorSettings| Pair { one: output.name.clone(), other: hung(output), dead_time: DEAD_TIME };
    let interlocks = SharedInterlocks::default();
    let names = outputs.iter().flat_map(|output| [output.name.clone(), hung(output)]);
    interlocks.arrange(outputs.iter().map(pair).collect(), names);
    let mut bench = Bench::start_in(interlocks, 64, |file| plan(Vec::new(), outputs, file));
    for _ in LINES {
        assert_eq!(bench.state().await, (Some(OutputValue::Switch(false)), StateCause::Start));
    }
    let asked = std::time::Instant::now();
    bench.worker.ask_to_stop();
    for _ in LINES {
        assert_eq!(bench.state().await, (Some(OutputValue::Switch(false)), StateCause::Stop), "they stay off");
    }
    let took = asked.elapsed();
    assert!(took >= DEAD_TIME, "{took:?}");
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
    took
}

/// Cannot be driven, so nobody has seen it off.
struct Broken;

impl Actuator for Broken {
    fn apply(&mut self, _: OutputValue) -> Result<(), DriverError> {
        Err(DriverError::NotReady("the output"))
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

static BROKEN: DriverSpec = DriverSpec {
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| Ok(Box::new(Broken)),
    },
    ..NOBODY
};

#[tokio::test]
async fn an_output_that_leaves_the_configuration_does_not_keep_its_partners_off_even_if_it_never_followed() {
    let broken = ActuatorSettings { name: name("broken"), driver: &BROKEN, ..pump(None) };
    let (interlocks, pump) = (SharedInterlocks::default(), pump(None));
    let pair = Pair { one: name("pump"), other: name("broken"), dead_time: Duration::ZERO };
    interlocks.arrange(vec![pair], [name("pump"), name("broken")].into_iter());
    let outputs = vec![pump.clone(), broken];
    let bench = Bench::start_in(interlocks.clone(), 64, |file| plan(Vec::new(), outputs, file));
    assert!(bench.order(true, None).await.unwrap().is_err(), "the other may be on");
    interlocks.arrange(Vec::new(), [name("pump")].into_iter());
    bench.worker.inbox.try_send(Order::Replan(plan(Vec::new(), vec![pump], &bench.state_file()))).unwrap();
    assert_eq!(bench.order(true, None).await.unwrap(), Ok(Done { value: OutputValue::Switch(true), postponed: None }));
}
