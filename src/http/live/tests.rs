//! What readers are sent, and that it is a true picture whatever happens.

use super::*;
use crate::http::state::tests::Board;
use futures_util::{FutureExt, StreamExt};
use proptest::prelude::*;

/// Updates of an hour.
const HOUR: u64 = 4 * 3600;

type Reader = std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>>;

fn begin(live: &Live, nth: u64) -> Option<Reader> {
    let place = Arc::clone(&live.places).try_acquire_owned().ok()?;
    Some(Box::pin(live.begin(place, Snapshot::example(nth), true)))
}

/// What has come; nothing when nothing has, or no more will.
fn next(reader: &mut Reader) -> Option<String> {
    reader.next().now_or_never().flatten().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn a_reader_begins_with_everything_and_is_then_sent_what_is_new() {
    let live = Live::new(1);
    let mut reader = begin(&live, 1).unwrap();
    assert!(begin(&live, 1).is_none(), "there is one place");
    let first = next(&mut reader).unwrap();
    assert!(first.starts_with("retry: 2000\n\nid: 1\nevent: state\ndata: {"), "{first}");
    live.send(Snapshot::example(1));
    assert_eq!(next(&mut reader), None);
    live.send(Snapshot::example(2));
    let second = next(&mut reader).unwrap();
    assert!(second.starts_with("id: 2\nevent: change\n") && second.contains("\"seq 2\""), "{second}");
    drop(reader);
    assert!(begin(&live, 3).is_some());
}

#[test]
fn who_falls_behind_is_let_go() {
    let live = Live::new(2);
    let (mut slow, mut quick) = (begin(&live, 0).unwrap(), begin(&live, 0).unwrap());
    assert!(next(&mut slow).is_some() && next(&mut quick).is_some());
    for nth in 1..=MAX_BEHIND as u64 + 1 {
        live.send(Snapshot::example(nth));
        assert!(next(&mut quick).is_some(), "{nth}");
    }
    assert_eq!(slow.next().now_or_never(), Some(None), "its stream has ended");
    drop(slow);
    assert!(begin(&live, 0).is_some(), "and its place is free");
}

/// Bytes of this process that are resident and no file's.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn stay_open(updates: u64) {
    let live = Live::new(1);
    let mut reader = begin(&live, 0).unwrap();
    let mut bytes = next(&mut reader).unwrap().len();
    let mut update = |nth| {
        live.send(Snapshot::example(nth));
        bytes += next(&mut reader).unwrap().len();
    };
    (1..1000).for_each(&mut update);
    let before = own_memory();
    (1000..1000 + updates).for_each(&mut update);
    let grown = own_memory().saturating_sub(before);
    assert!(grown <= 256 * 1024, "{grown} bytes more after {updates} updates of {bytes} bytes");
}

/// An hour's updates, or with `FIELDGATE_FAULTS=long` those of a day. In a process of its own, for memory is that of the whole of it.
#[test]
fn a_page_that_stays_open_needs_no_more_memory_as_time_goes_by() {
    const ALONE: &str = "FIELDGATE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let is_long = std::env::var("FIELDGATE_FAULTS").is_ok_and(|scale| scale == "long");
        return stay_open(if is_long { 24 * HOUR } else { HOUR });
    }
    let name = "http::live::tests::a_page_that_stays_open_needs_no_more_memory_as_time_goes_by";
    let mut own = std::process::Command::new(std::env::current_exe().unwrap());
    let output = own.args(["--exact", name, "--test-threads=1"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Who reads the stream as docs/http.md says it is to be read, and what is known there.
struct Client {
    reader: Option<Reader>,
    picture: Json,
    sleeps: bool,
}

impl Client {
    fn join(live: &Live, board: &Board) -> Self {
        let place = Arc::clone(&live.places).try_acquire_owned().unwrap();
        let reader: Reader = Box::pin(live.begin(place, board.now.clone(), true));
        Self { reader: Some(reader), picture: Json::Null, sleeps: false }
    }

    /// Reads what has come. One that was let go comes again.
    fn follow(&mut self, live: &Live, board: &Board) {
        while let Some(next) = self.reader.as_mut().and_then(|reader| reader.next().now_or_never()) {
            match next {
                Some(bytes) => self.take(&bytes),
                None => {
                    // Its place is free before it comes again.
                    self.reader = None;
                    *self = Self::join(live, board);
                }
            }
        }
    }

    fn take(&mut self, event: &[u8]) {
        let text = std::str::from_utf8(event).unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let data: Json = serde_json::from_str(field("data: ")).unwrap();
        match field("event: ") {
            "state" => self.picture = aged(data),
            "change" => self.change(aged(data)),
            other => assert_eq!(other, "ping"),
        }
    }

    fn change(&mut self, change: Json) {
        for (key, new) in change.as_object().unwrap() {
            let old = &mut self.picture[key];
            match key.as_str() {
                "sensors" => new.as_array().unwrap().iter().for_each(|new| merge(named(old, new), new)),
                "outputs" => new.as_array().unwrap().iter().for_each(|new| *named(old, new) = new.clone()),
                "log" => {
                    let lines = old.as_array_mut().unwrap();
                    lines.extend(new.as_array().unwrap().iter().cloned());
                    lines.drain(..lines.len().saturating_sub(crate::log_lines::LINES));
                }
                _ => *old = new.clone(),
            }
        }
    }
}

/// The one of that name in a list.
fn named<'j>(list: &'j mut Json, like: &Json) -> &'j mut Json {
    list.as_array_mut().unwrap().iter_mut().find(|one| one["name"] == like["name"]).unwrap()
}

/// A sensor with what has changed.
fn merge(old: &mut Json, new: &Json) {
    for (key, new) in new.as_object().unwrap() {
        match new.as_object().filter(|_| key == "values") {
            Some(values) => values.iter().for_each(|(name, value)| {
                named(&mut old["values"], &serde_json::json!({ "name": name }))["value"] = value.clone();
            }),
            None => old[key] = new.clone(),
        }
    }
}

/// An age is as of its event: when it was taken stays.
fn aged(mut event: Json) -> Json {
    let now = humantime::parse_rfc3339(event["now"].as_str().unwrap()).unwrap();
    for sensor in event.get_mut("sensors").and_then(Json::as_array_mut).into_iter().flatten() {
        let taken = sensor["age"].as_f64().map(|age| now - Duration::from_micros((age * 1e6).round() as u64));
        sensor["age"] = taken.map(fieldgate_model::payload::time).into();
    }
    event
}

/// Everything but what passes by itself.
fn still(mut picture: Json) -> Json {
    let all = picture.as_object_mut().unwrap();
    all.retain(|key, _| key != "now" && key != "uptime");
    picture
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Read(usize, Option<i16>, Option<bool>, bool),
    Is(usize, Option<&'static str>),
    Drive(u8),
    Queue(u8),
    Log,
    Reload,
    /// Looks, and sends what has changed.
    Look,
    /// Looks so often that who sleeps is let go, or nearly.
    Looks(u8),
    Joins(usize),
    Sleeps(usize, bool),
}

const CLIENTS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let word = proptest::sample::select(vec![None, Some("no answer"), Some("checksum")]);
    prop_oneof![
        2 => (1..700_u64).prop_map(Step::Pass),
        6 => (0..3_usize, prop::option::weighted(0.8, 0..3_i16), prop::option::of(any::<bool>()), any::<bool>())
            .prop_map(|(nth, value, open, clicks)| Step::Read(nth, value, open, clicks)),
        2 => (0..3_usize, word).prop_map(|(nth, error)| Step::Is(nth, error)),
        1 => (0..2_u8).prop_map(Step::Drive),
        2 => (0..2_u8).prop_map(Step::Queue),
        1 => Just(Step::Log),
        1 => Just(Step::Reload),
        6 => Just(Step::Look),
        1 => (10..20_u8).prop_map(Step::Looks),
        2 => (0..CLIENTS).prop_map(Step::Joins),
        2 => (0..CLIENTS, any::<bool>()).prop_map(|(nth, sleeps)| Step::Sleeps(nth, sleeps)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_merges_what_comes_has_all_of_it(steps in prop::collection::vec(step(), 1..60)) {
        let (live, mut board) = (Live::new(CLIENTS), Board::of(3));
        let mut clients: [Option<Client>; CLIENTS] = std::array::from_fn(|_| None);
        let wakes = (0..CLIENTS).map(|nth| Step::Sleeps(nth, false));
        for step in steps.into_iter().chain(wakes).chain([Step::Look]) {
            match step {
                Step::Pass(millis) => board.pass(millis),
                Step::Read(nth, value, open, clicks) => board.read(nth, value, open, clicks),
                Step::Is(nth, error) => board.is(nth, error),
                Step::Drive(value) => board.drive(value),
                Step::Queue(queued) => board.queue(queued),
                Step::Log => board.log(),
                Step::Reload => board.reload(),
                Step::Look => live.send(board.now.clone()),
                Step::Looks(times) => (0..times).for_each(|_| {
                    board.pass(250);
                    board.read(0, Some(1), None, false);
                    live.send(board.now.clone());
                    clients.iter_mut().flatten().filter(|client| !client.sleeps).for_each(|client| client.follow(&live, &board));
                }),
                Step::Joins(nth) => {
                    clients[nth] = None;
                    clients[nth] = Some(Client::join(&live, &board));
                }
                Step::Sleeps(nth, sleeps) => clients[nth].iter_mut().for_each(|client| client.sleeps = sleeps),
            }
            for client in clients.iter_mut().flatten().filter(|client| !client.sleeps) {
                client.follow(&live, &board);
                let sent = live.sent().last.as_ref().unwrap().whole();
                prop_assert_eq!(still(client.picture.clone()), still(aged(sent)));
            }
        }
        let all = still(aged(board.now.whole()));
        for client in clients.into_iter().flatten() {
            prop_assert_eq!(still(client.picture), all.clone());
        }
    }
}

/// Bytes of the event with what has changed.
fn bytes_of(sensors: usize, changed: usize) -> usize {
    let (live, mut board) = (Live::new(1), Board::of(sensors));
    let read_all = |board: &mut Board, sensors, value| {
        board.pass(250);
        (0..sensors).for_each(|nth| board.read(nth, Some(value), Some(true), false));
    };
    read_all(&mut board, sensors, 2150);
    (0..sensors).for_each(|nth| board.is(nth, None));
    let mut reader = Client::join(&live, &board).reader.unwrap();
    next(&mut reader).unwrap();
    read_all(&mut board, changed, 2151);
    live.send(board.now.clone());
    next(&mut reader).unwrap().len()
}

#[test]
fn an_update_is_as_long_as_what_has_changed() {
    let one = bytes_of(200, 1);
    assert!(one <= 260, "{one} bytes for one of 200 sensors");
    assert_eq!(one, bytes_of(2, 1), "the others cost nothing");
    let all = bytes_of(200, 200);
    assert!(all <= 200 * 100, "{all} bytes for all 200");
}
