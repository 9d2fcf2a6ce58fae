//! The tasks that serve what is known of the gateway to programs outside: the HTTP server and the file of metrics.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::curves::Curves;
use crate::http::{self, Http, HttpResources};
use crate::log_lines;
use crate::metrics::textfile;
use fieldgate_link::secrets;

/// Both tasks, what they are to do, and what ends them.
pub(super) struct ServerTasks {
    pub(super) page: JoinHandle<()>,
    pub(super) metrics_file: JoinHandle<()>,
    http: watch::Sender<Option<http::Settings>>,
    textfile: watch::Sender<Option<textfile::Settings>>,
    curves: Curves,
    pub(super) stop: watch::Sender<bool>,
}

impl ServerTasks {
    pub(super) fn start(config: &Config, resources: HttpResources) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (http, http_settings) = watch::channel(None);
        let (textfile, textfile_settings) = watch::channel(config.metrics.clone());
        let (metrics, curves) = (resources.metrics.clone(), resources.curves.clone());
        let credentials = secrets::credentials_folder();
        let server = Http { settings: http_settings, resources, credentials, stop: stopped.clone() };
        let writer = textfile::run(textfile_settings, metrics, stopped);
        let (page, metrics_file) = (tokio::spawn(server.run()), tokio::spawn(writer));
        let tasks = Self { page, metrics_file, http, textfile, curves, stop };
        tasks.reload(config);
        tasks
    }

    /// As this configuration has it from now on; what is the same goes on.
    pub(super) fn reload(&self, config: &Config) {
        let is_wanted = config.http.is_some();
        self.curves.set_wanted(is_wanted);
        log_lines::set_wanted(is_wanted);
        replace(&self.http, &config.http);
        replace(&self.textfile, &config.metrics);
    }
}

fn replace<T: Clone + PartialEq>(settings: &watch::Sender<T>, new: &T) {
    settings.send_if_modified(|old| {
        let is_new = old != new;
        if is_new {
            old.clone_from(new);
        }
        is_new
    });
}
