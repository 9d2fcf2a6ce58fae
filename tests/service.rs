//! What `fieldgate run` does, beside a real broker or one that misbehaves as scripted. One program for all of it, for to link the whole
//! of Fieldgate once more for each file takes longer than most of them run. A file alone: `cargo test --test service rules::`.

mod common;

#[path = "clicks.rs"]
mod clicks;
#[path = "commands.rs"]
mod commands;
#[path = "counting.rs"]
mod counting;
#[path = "delivery.rs"]
mod delivery;
#[path = "derived.rs"]
mod derived;
#[path = "home_assistant.rs"]
mod home_assistant;
#[path = "http.rs"]
mod http;
#[path = "ids.rs"]
mod ids;
#[path = "kinds.rs"]
mod kinds;
#[path = "life.rs"]
mod life;
#[path = "mosquitto.rs"]
mod mosquitto;
#[path = "offline.rs"]
mod offline;
#[path = "operations.rs"]
mod operations;
#[path = "outage.rs"]
mod outage;
#[path = "outputs.rs"]
mod outputs;
#[path = "paho.rs"]
mod paho;
#[path = "prometheus.rs"]
mod prometheus;
#[path = "requests.rs"]
mod requests;
#[path = "rules.rs"]
mod rules;
#[path = "scripted.rs"]
mod scripted;
#[path = "topics.rs"]
mod topics;
#[path = "values.rs"]
mod values;
#[path = "variables.rs"]
mod variables;
