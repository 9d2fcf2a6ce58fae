use super::*;
use proptest::prelude::*;

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 1);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 0);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn signal(device: &str, value: &str) -> SignalName {
    SignalName { device: name(device), value: value.to_owned() }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn air() -> SignalSource {
    SignalSource::Sensor(name("air"), vec![TEMPERATURE, HUMIDITY], s(30))
}

fn number(signal: Option<Signal>) -> Option<f64> {
    match signal? {
        Signal::Measured(Value::Number { value, .. }) => Some(value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listener_is_woken_by_what_it_asked_for_and_reads_it() {
    let signals = Signals::default();
    signals.arrange(vec![air(), SignalSource::Sensor(name("far"), vec![TEMPERATURE], s(30))]);
    let mut listener = signals.listen(vec![signal("air", "humidity"), signal("air", "temperature")]).unwrap();
    let (mut values, mut samples) = (Vec::new(), Vec::new());
    assert!(!listener.take_news());
    assert_eq!((listener.read(s(1), &mut values, &mut samples).too_old_at, &*values), (None, &[None, None][..]));
    signals.sampled(&name("far"), s(1), &[TEMPERATURE.measured(1.0)]);
    assert!(!listener.take_news(), "that is somebody else");
    signals.sampled(&name("air"), s(2), &[TEMPERATURE.measured(20.0), HUMIDITY.measured(40.0)]);
    assert!(listener.take_news());
    assert!(!listener.take_news(), "once");
    let read = listener.read(s(3), &mut values, &mut samples);
    assert_eq!(read, Read { too_old_at: Some(s(32)), misses_some: false });
    assert_eq!(samples, [Some(Sampled { at: s(2), good_for: s(30) }); 2]);
    assert_eq!(values.iter().map(|value| number(value.clone())).collect::<Vec<_>>(), [Some(40.0), Some(20.0)]);
}

#[test]
fn what_is_old_missing_or_down_is_not_known() {
    let signals = Signals::default();
    signals.arrange(vec![air()]);
    let mut listener = signals.listen(vec![signal("air", "temperature"), signal("air", "humidity")]).unwrap();
    let read = |listener: &mut Listener, at| {
        let mut values = Vec::new();
        let too_old_at = listener.read(s(at), &mut values, &mut Vec::new()).too_old_at;
        (values.iter().map(|value| number(value.clone())).collect::<Vec<_>>(), too_old_at)
    };
    signals.sampled(&name("air"), s(10), &[TEMPERATURE.measured(20.0)]);
    assert_eq!(read(&mut listener, 40), (vec![Some(20.0), None], Some(s(40))));
    assert_eq!(read(&mut listener, 41), (vec![None, None], None));
    signals.sampled(&name("air"), s(42), &[TEMPERATURE.measured(21.0)]);
    signals.sensor_down(&name("air"));
    assert!(listener.take_news());
    assert_eq!(read(&mut listener, 43), (vec![None, None], None));
}

#[test]
fn a_reload_keeps_what_is_the_same() {
    let signals = Signals::default();
    signals.arrange(vec![air(), SignalSource::Output(name("pump"), OutputKind::Switch)]);
    let mut listener = signals.listen(vec![signal("air", "temperature"), signal("pump", "value")]).unwrap();
    signals.sampled(&name("air"), s(1), &[TEMPERATURE.measured(20.0)]);
    signals.output_changed(&name("pump"), Some(OutputValue::Switch(true)), StateCause::Command);
    let mut values = Vec::new();
    signals.arrange(vec![air(), SignalSource::Output(name("pump"), OutputKind::Switch)]);
    listener.read(s(1), &mut values, &mut Vec::new());
    assert_eq!(
        (number(values[0].clone()), values[1].clone()),
        (Some(20.0), Some(Signal::Output(OutputValue::Switch(true))))
    );
    assert!(listener.take_news());
    signals.sampled(&name("air"), s(2), &[]);
    assert!(listener.take_news(), "it is still listened to");
    signals.arrange(vec![SignalSource::Sensor(name("air"), vec![HUMIDITY, TEMPERATURE], s(30))]);
    listener.read(s(2), &mut values, &mut Vec::new());
    assert_eq!(values, [None, None]);
    signals.sampled(&name("air"), s(2), &[]);
    assert!(listener.take_news(), "also where it measures something else");
    signals.arrange(Vec::new());
    signals.sampled(&name("air"), s(3), &[TEMPERATURE.measured(20.0)]);
    assert!(!listener.take_news());
    listener.read(s(3), &mut values, &mut Vec::new());
    assert_eq!(values, [None, None]);
}

#[test]
fn what_has_just_happened_is_read_once_by_each() {
    const CLICK: Quantity = Quantity::word("click");
    let signals = Signals::default();
    signals.arrange(vec![SignalSource::Sensor(name("bell"), vec![CLICK], s(180))]);
    let listen = || signals.listen(vec![signal("bell", "click")]).unwrap();
    let (mut one, mut other) = (listen(), listen());
    let read = |listener: &mut Listener| {
        let mut values = Vec::new();
        listener.read(s(2), &mut values, &mut Vec::new());
        values[0].is_some()
    };
    for at in [1, 2] {
        signals.sampled(&name("bell"), s(at), &[CLICK.happened("single")]);
        assert_eq!([read(&mut one), read(&mut one), read(&mut other)], [true, false, true]);
    }
}

/// What happens to two sensors.
#[derive(Clone, Debug)]
enum Happens {
    /// So many seconds later a sample of one, whose measurements may be missing.
    Sampled(u64, bool, Option<i8>, Option<i8>),
    Failed(bool),
    Arranged,
}

fn happens() -> impl Strategy<Value = Happens> {
    let value = || proptest::option::weighted(0.8, any::<i8>());
    prop_oneof![
        6 => (0..20u64, any::<bool>(), value(), value()).prop_map(|(after, first, t, h)| Happens::Sampled(after, first, t, h)),
        1 => any::<bool>().prop_map(Happens::Failed),
        1 => Just(Happens::Arranged),
    ]
}

proptest! {
    /// Against a plain model that keeps every sensor's newest sample.
    #[test]
    fn what_is_read_is_the_newest_sample_unless_it_is_too_old(story in proptest::collection::vec(happens(), 1..40)) {
        let both = || vec![air(), SignalSource::Sensor(name("far"), vec![TEMPERATURE, HUMIDITY], s(15))];
        let signals = Signals::default();
        signals.arrange(both());
        let mut listener = signals.listen(vec![
            signal("air", "temperature"), signal("air", "humidity"), signal("far", "temperature"), signal("far", "humidity"),
        ]).unwrap();
        let (mut now, mut newest) = (0, [(0, [None, None]), (0, [None, None])]);
        for step in story {
            match step {
                Happens::Sampled(after, is_first, t, h) => {
                    now += after;
                    let [t, h] = [t, h].map(|value| value.map(f64::from));
                    let mut sample: Vec<_> = h.map(|value| HUMIDITY.measured(value)).into_iter().collect();
                    sample.extend(t.map(|value| TEMPERATURE.measured(value)));
                    signals.sampled(&name(if is_first { "air" } else { "far" }), s(now), &sample);
                    newest[usize::from(!is_first)] = (now, [t, h]);
                    prop_assert!(listener.take_news());
                }
                Happens::Failed(is_first) => {
                    signals.sensor_down(&name(if is_first { "air" } else { "far" }));
                    newest[usize::from(!is_first)].1 = [None, None];
                }
                Happens::Arranged => signals.arrange(both()),
            }
            let good = |(index, (at, values)): (usize, &(u64, [Option<f64>; 2]))| {
                values.map(|value| value.filter(|_| now <= at + [30, 15][index]))
            };
            let expected: Vec<_> = newest.iter().enumerate().flat_map(good).collect();
            let mut values = Vec::new();
            listener.read(s(now), &mut values, &mut Vec::new());
            prop_assert_eq!(values.into_iter().map(number).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn a_variable_is_known_when_it_is_set_wakes_who_listens_and_outlives_a_new_arrangement() {
    let kind = VariableKind::Number { min: 5.0, max: 30.0, step: None, unit: "°C".into() };
    let target = || SignalSource::Variable(name("target"), kind.clone());
    let signals = Signals::default();
    signals.arrange(vec![target()]);
    let target_signal = SignalName::variable(name("target"));
    assert_eq!(signals.describe(&target_signal), Some(SourceKind::Variable(kind.clone())));
    let mut listener = signals.listen(vec![target_signal]).unwrap();
    let read = |listener: &mut Listener| {
        let (mut values, mut samples) = (Vec::new(), Vec::new());
        let read = listener.read(s(1000), &mut values, &mut samples);
        assert_eq!((read, &samples[..]), (Read::default(), &[None][..]), "it has no age");
        values.remove(0)
    };
    assert_eq!(read(&mut listener), None);
    for number in [21.5, 19.0] {
        let value = VariableValue::Number(number);
        signals.assign(&name("target"), value.clone());
        assert!(listener.take_news());
        assert_eq!(read(&mut listener), Some(Signal::Variable(value)));
    }
    signals.assign(&name("target"), VariableValue::Number(19.0));
    assert!(!listener.take_news(), "nothing new");
    signals.arrange(vec![target(), air()]);
    assert_eq!(read(&mut listener), Some(Signal::Variable(VariableValue::Number(19.0))));
    signals.arrange(vec![SignalSource::Variable(name("target"), VariableKind::Options(vec!["on".into()]))]);
    assert_eq!(read(&mut listener), None, "another kind of thing");
    signals.assign(&name("target"), VariableValue::Word("on".into()));
    assert!(listener.take_news());
    assert_eq!(read(&mut listener), Some(Signal::Variable(VariableValue::Word("on".into()))));
}

#[test]
fn one_that_has_gone_is_woken_no_more() {
    let signals = Signals::default();
    signals.arrange(vec![air()]);
    drop(signals.listen(vec![signal("air", "temperature")]).unwrap());
    signals.sampled(&name("air"), s(1), &[]);
    assert!(signals.entries().sensors[&name("air")].listeners.is_empty());
}
