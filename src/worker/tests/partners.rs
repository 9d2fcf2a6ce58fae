//! Outputs that wait for others at the end.

use super::*;
use fieldgate_safety::Pair;

const LINES: [&str; 6] = ["GPIO5", "GPIO6", "GPIO13", "GPIO19", "GPIO26", "GPIO27"];
const DEAD_TIME: Duration = Duration::from_secs(1);

/// Nobody drives the partners, as on a bus that hangs: nobody has seen them off.
#[tokio::test]
async fn outputs_that_wait_for_partners_at_the_end_wait_together() {
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
    let one_after_the_other = DEAD_TIME * u32::try_from(LINES.len()).unwrap();
    assert!(asked.elapsed() >= DEAD_TIME && asked.elapsed() < one_after_the_other, "{:?}", asked.elapsed());
    assert!(bench.worker.join(SOON).await);
}
