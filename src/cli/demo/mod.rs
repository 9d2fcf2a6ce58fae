//! `fieldgate demo`: a simulated greenhouse with its own broker; no hardware, no file, no network.
//!
//! The same gateway and the same drivers as in `fieldgate run`; only the chips are simulated and the broker is embedded. With
//! `--home-assistant` the broker is one that is there already, and the greenhouse is announced.
//! Nothing is left behind: the spool lives in a folder of its own that goes with the program, and an orderly end clears all that
//! a given broker retains.

mod broker;
mod place;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli;
use crate::cli::arguments::Elsewhere;
use crate::cli::demo::place::Place;
use crate::cli::demo::table::{Frame, Names};
use crate::cli::screen::Screen;
use crate::config;
use crate::gateway::Gateway;
use crate::views::{View, Views};
use fieldgate_model::describe_error;

/// The greenhouse. `@PORT@` and `@FOLDER@` are filled in.
const GREENHOUSE: &str = include_str!("../../../config/demo.yaml");

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(500);

/// Runs until Ctrl-C, or until its output is closed. If the port is taken it says so and uses the next free one.
pub fn run(wanted: u16, elsewhere: Elsewhere) -> ExitCode {
    let place = match Place::given(elsewhere).map_or_else(|| embedded(wanted), Ok) {
        Ok(place) => place,
        Err(words) => return cli::fail(&words),
    };
    let folder = Folder::new();
    let text = place.greenhouse(GREENHOUSE, &folder.0);
    let config = match config::load_text(&text, &folder.0.join("demo.yaml")) {
        Ok(loaded) => place.applied_to(loaded.config),
        Err(error) => return cli::refuse(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return cli::fail(&format!("the runtime could not be started: {e}")),
    };
    let code = runtime.block_on(show(config, place));
    runtime.shutdown_background();
    code
}

/// Starts the demo's own broker, on the first free port.
fn embedded(wanted: u16) -> Result<Place, String> {
    let port = broker::start(wanted)?;
    if port != wanted {
        cli::print_message(&format!("port {wanted} is taken, so the demo's broker listens on {port}\n"));
        // In front of the table, which is drawn by another thread.
        cli::log::flush(true);
    }
    Ok(Place::Embedded(port))
}

async fn show(config: config::Config, place: Place) -> ExitCode {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(e), _) | (_, Err(e)) => return cli::fail(&format!("signals cannot be received: {e}")),
    };
    let (views, names) = (Views::default(), Names::of(&config));
    let gateway = match Gateway::start(config, views.clone()) {
        Ok(gateway) => gateway,
        Err(e) => return cli::fail(&describe_error(&e)),
    };
    let mut picture = Picture::new(place, names);
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            _ = redraw.tick() => {
                fieldgate_clock::refresh();
                if !picture.draw(&views.current(), &gateway) {
                    break;
                }
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    let link = gateway.link_status().borrow().state;
    gateway.stop().await;
    let words = format!("\ndemo ended; every output is in its safe state{}\n", picture.place.farewell(link));
    picture.screen.end(&words)
}

/// What is shown, and what was.
struct Picture {
    screen: Screen,
    started: Instant,
    place: Place,
    names: Names,
    /// What was last printed in plain lines.
    printed: View,
    /// What was last printed of the link.
    link: String,
    introduced: bool,
}

impl Picture {
    fn new(place: Place, names: Names) -> Self {
        Self {
            // A gateway must not wait for a reader, and the table is only for show.
            screen: Screen::new(|_| ()),
            started: Instant::now(),
            place,
            names,
            printed: View::default(),
            link: String::new(),
            introduced: false,
        }
    }

    /// `false` when the reader has gone away (`| head`).
    fn draw(&mut self, view: &View, gateway: &Gateway) -> bool {
        if !self.screen.is_idle() {
            return true;
        }
        let (sent, waiting) = gateway.delivered_and_waiting();
        let frame = Frame {
            names: &self.names,
            view,
            place: &self.place,
            link: self.place.link(&gateway.link_status().borrow()),
            up: self.started.elapsed(),
            sent,
            waiting,
            now: fieldgate_clock::now(),
        };
        if self.screen.is_terminal() {
            self.screen.draw(&frame.lines());
        } else {
            let mut out = String::new();
            if !std::mem::replace(&mut self.introduced, true) {
                out.push_str(&frame.introduction());
            }
            let link = frame.link_line();
            out.push_str(if link == self.link { "" } else { &link });
            out.push_str(&frame.changes(&self.printed));
            (self.link, self.printed) = (link, view.clone());
            self.screen.print(out);
        }
        !self.screen.is_closed()
    }
}

/// A folder for this demo alone, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("fieldgate-demo-{}-{:08x}", std::process::id(), fastrand::u32(..))))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It may never have been made, and what is left is in the temporary folder.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
