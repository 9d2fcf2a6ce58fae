//! What there is, by its path: what is shown is a line in [`SHOWN`], commands go to `control.rs`. A request that gets here was let in by
//! `access.rs`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::IpAddr;

use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming as Body};
use hyper::header::{ACCEPT, HeaderName, REFERRER_POLICY};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value as Json, json};

use crate::curves::{BIN, BINS, Curves};
use crate::http::access::Refused;
use crate::http::cached::What;
use crate::http::state::Snapshot;
use crate::http::{Site, control, page};
use crate::metrics::Form;
use fieldgate_clock as clock;
use fieldgate_model::payload;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

const JSON: &str = "application/json";

/// Answers one request.
pub(super) async fn answer(request: Request<Body>, from: IpAddr, site: &Site) -> Answer {
    let (about, body) = request.into_parts();
    let is_head = about.method == Method::HEAD;
    let answered = match site.access.check(&about, from, clock::boottime()) {
        Err(refused) => Err(refused),
        Ok(()) if about.method == Method::POST => change(about.uri.path(), body, site).await,
        Ok(()) => {
            let accept = about.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
            show(about.uri.path(), &ShownRequest { site, accept, is_head })
        }
    };
    let mut answer = answered.unwrap_or_else(refuse);
    secure(&mut answer);
    // hyper leaves out the body of an answer to HEAD by itself.
    answer
}

/// THE TABLE: what is shown, by its path. Where commands go is `control::recipient`.
static SHOWN: &[(&str, Show)] = &[
    ("/", |_| Ok(the_page())),
    ("/index.html", |_| Ok(the_page())),
    ("/api/state", state),
    ("/api/history", |asked| asked.cached(What::History, JSON, || history(&asked.site.resources.curves))),
    ("/api/events", events),
    ("/healthz", |asked| Ok(health(asked.site.resources.liveness.stalled()))),
    ("/metrics", metrics),
];

type Show = fn(&ShownRequest<'_>) -> Result<Answer, Refused>;

/// A request for something that is shown.
struct ShownRequest<'a> {
    site: &'a Site,
    /// The forms that the other side understands.
    accept: Option<&'a str>,
    /// Whether only the head of the answer is wanted.
    is_head: bool,
}

impl ShownRequest<'_> {
    fn cached(&self, what: What, kind: &'static str, make: impl FnOnce() -> String) -> Result<Answer, Refused> {
        Ok(full(kind, self.site.cached.get(what, make)))
    }
}

fn shown(path: &str) -> Option<Show> {
    SHOWN.iter().find(|(known, _)| *known == path).map(|(_, show)| *show)
}

fn show(path: &str, asked: &ShownRequest<'_>) -> Result<Answer, Refused> {
    match shown(path) {
        Some(show) => show(asked),
        None if recipient_of(path).is_some() => {
            Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "a command is sent here by POST"))
        }
        None => Err(nothing_there()),
    }
}

async fn change(path: &str, body: Body, site: &Site) -> Result<Answer, Refused> {
    let Some((kind, name)) = recipient_of(path) else {
        let unchangeable = || Refused::new(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here");
        return Err(shown(path).map_or_else(nothing_there, |_| unchangeable()));
    };
    let (status, reply) = control::command(&site.resources, kind, name, body).await?;
    let mut answer = full(JSON, reply);
    *answer.status_mut() = status;
    Ok(answer)
}

/// What a path such as `/api/actuators/pump` gives commands to.
fn recipient_of(path: &str) -> Option<(fieldgate_model::RecipientKind, &str)> {
    let (folder, name) = path.strip_prefix("/api/")?.split_once('/')?;
    Some((control::recipient(folder)?, name))
}

fn nothing_there() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "there is nothing here")
}

fn full(kind: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn empty(kind: &'static str) -> Answer {
    let mut answer = Response::new(Empty::new().boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn the_page() -> Answer {
    let mut answer = full("text/html; charset=utf-8", Bytes::from_static(page::COMPRESSED));
    answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY.trim_ascii_end()));
    answer
}

fn state(asked: &ShownRequest<'_>) -> Result<Answer, Refused> {
    let site = asked.site;
    asked.cached(What::State, JSON, || Snapshot::of(&site.resources, site.access.control).whole().to_string())
}

fn metrics(asked: &ShownRequest<'_>) -> Result<Answer, Refused> {
    let form = Form::wanted(asked.accept);
    let what = if form == Form::OpenMetrics { What::OpenMetrics } else { What::Text };
    asked.cached(what, form.content_type(), || asked.site.resources.metrics.render(form))
}

fn events(asked: &ShownRequest<'_>) -> Result<Answer, Refused> {
    if asked.is_head {
        return Ok(empty("text/event-stream"));
    }
    let site = asked.site;
    let stream = site.live.read(&site.resources, site.access.control).ok_or_else(|| Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: "too many pages are open".into(),
        wait: Some(std::time::Duration::from_secs(10)),
    })?;
    let frames = stream.map(|event| Ok::<_, Infallible>(Frame::data(event)));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(answer)
}

/// By the rule that feeds the watchdog.
fn health(stalled: Option<String>) -> Answer {
    match stalled {
        None => full("text/plain; charset=utf-8", Bytes::from_static(b"ok\n")),
        Some(reason) => {
            let mut answer = full("text/plain; charset=utf-8", Bytes::from(format!("{reason}\n")));
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            answer
        }
    }
}

fn history(curves: &Curves) -> String {
    let mut text = format!("{{\"bin\":{},\"bins\":{BINS},\"sensors\":{{", BIN.as_secs());
    let mut between = "";
    for (name, all) in curves.all(clock::boottime()) {
        // A String takes all.
        write!(text, "{between}\"{name}\":{{").ok();
        between = ",";
        for (nth, curve) in all.iter().enumerate() {
            let key = Json::from(curve.measurement.as_ref());
            let side = |side: usize| {
                let points = curve.points.iter().map(|point| match point {
                    Some(both) => payload::number(f64::from(both[side]), curve.decimals),
                    None => "null".into(),
                });
                points.collect::<Vec<_>>().join(",")
            };
            let comma = if nth > 0 { "," } else { "" };
            write!(text, "{comma}{key}:{{\"low\":[{}],\"high\":[{}]}}", side(0), side(1)).ok();
        }
        text.push('}');
    }
    text.push_str("}}");
    text
}

fn refuse(refused: Refused) -> Answer {
    let mut answer = full(JSON, Bytes::from(json!({ "error": refused.reason }).to_string()));
    *answer.status_mut() = refused.status;
    let headers = answer.headers_mut();
    if refused.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"fieldgate\", charset=\"UTF-8\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if refused.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    if let Some(wait) = refused.wait {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    // Its body may not have been read.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// What every answer says to a browser.
fn secure(answer: &mut Answer) {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
    let own = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(own, HeaderValue::from_static("same-origin"));
}
