//! Who may ask for what. Everything is refused that a page from elsewhere could make a browser do.
//!
//! `Host` must be an address, `localhost` or a name of this gateway: a name from elsewhere that was made to point here (DNS rebinding) is
//! refused, also for reading. What changes something needs `http.control`, an `Origin` of this very host if there is one, a field that
//! no form can send, and JSON. A password is compared in a time that depends on its length alone; `guesses.rs` bounds the tries.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request;
use hyper::{Method, StatusCode};
use subtle::ConstantTimeEq;

use crate::http::Settings;
use crate::http::guesses::Guesses;
use fieldgate_model::Secret;

/// What a request that changes something must carry: `X-Fieldgate: 1`.
const X_FIELDGATE: HeaderName = HeaderName::from_static("x-fieldgate");

/// Where a browser says a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: String,
    /// When to try again.
    pub(super) wait: Option<Duration>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), wait: None }
    }
}

/// Who may ask for what: under which host names, with which password, and whether commands are taken.
pub(super) struct Access {
    names: Vec<String>,
    password: Option<Secret>,
    pub(super) control: bool,
    guesses: Mutex<Guesses>,
}

impl Access {
    pub(super) fn new(settings: &Settings, password: Option<Secret>) -> Self {
        let (names, guesses) = (settings.names.clone(), Mutex::default());
        Self { names, password, control: settings.control, guesses }
    }

    /// Whether this request may be answered.
    pub(super) fn check(&self, request: &request::Parts, from: IpAddr, now: Duration) -> Result<(), Refused> {
        let host = self.host(request)?;
        self.login(&request.headers, from, now)?;
        match request.method {
            Method::GET | Method::HEAD => Ok(()),
            Method::POST => self.change(&request.headers, host),
            _ => Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "there are GET, HEAD and POST")),
        }
    }

    /// The host that the request is for, with its port.
    fn host<'a>(&self, request: &'a request::Parts) -> Result<&'a str, Refused> {
        let malformed = |reason| Refused::new(StatusCode::BAD_REQUEST, reason);
        let host = single(&request.headers, HOST).map_err(malformed)?;
        let host = host.ok_or_else(|| malformed("the request has no Host"))?;
        if request.uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
            return Err(malformed("the request names two hosts"));
        }
        let name = without_port(host).ok_or_else(|| malformed("the Host cannot be read"))?;
        match self.is_ours(name) {
            true => Ok(host),
            false => {
                let reason = format!("this gateway is not known as {name:?}; add that to http.hosts if it is");
                Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, reason))
            }
        }
    }

    /// A name from elsewhere can point here, an address cannot.
    fn is_ours(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok())
            || name.parse::<std::net::Ipv4Addr>().is_ok()
            || name == "localhost"
            || self.names.contains(&name)
    }

    fn login(&self, headers: &HeaderMap, from: IpAddr, now: Duration) -> Result<(), Refused> {
        let Some(password) = &self.password else { return Ok(()) };
        let unauthorized = |reason: &str| Err(Refused::new(StatusCode::UNAUTHORIZED, reason));
        let written = single(headers, AUTHORIZATION).map_err(|reason| Refused::new(StatusCode::BAD_REQUEST, reason))?;
        // A browser asks without one first, which is no guess.
        let Some(written) = written else { return unauthorized("a password is needed") };
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = guesses.wait(from, now) {
            let reason = "too many wrong passwords came from this address";
            return Err(Refused { status: StatusCode::TOO_MANY_REQUESTS, reason: reason.into(), wait: Some(wait) });
        }
        let is_right = basic_password(written).is_some_and(|given| password.reveal().ct_eq(&given).into());
        if is_right {
            return Ok(());
        }
        guesses.wrong(from, now);
        unauthorized("the password is wrong")
    }

    fn change(&self, headers: &HeaderMap, host: &str) -> Result<(), Refused> {
        let forbidden = |reason: &str| Err(Refused::new(StatusCode::FORBIDDEN, reason));
        if !self.control {
            return forbidden("commands are not taken here; http.control in the configuration allows them");
        }
        let malformed = |reason| Refused::new(StatusCode::BAD_REQUEST, reason);
        let origin = single(headers, ORIGIN).map_err(malformed)?;
        let is_ours = |origin: &str| {
            let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            name.is_some_and(|name| name.eq_ignore_ascii_case(host))
        };
        if origin.is_some_and(|origin| !is_ours(origin)) {
            return forbidden("the request comes from a page of another origin");
        }
        let site = single(headers, SEC_FETCH_SITE).map_err(malformed)?;
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return forbidden("the request comes from a page of another site");
        }
        if single(headers, X_FIELDGATE).map_err(malformed)? != Some("1") {
            return forbidden("the request must carry X-Fieldgate: 1");
        }
        let kind = single(headers, CONTENT_TYPE).map_err(malformed)?.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        match kind.eq_ignore_ascii_case("application/json") {
            true => Ok(()),
            false => Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json")),
        }
    }
}

/// A field that must not be there twice, for two readers would take different ones.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, &'static str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err("a field is there twice");
    }
    first.map(|value| value.to_str().map_err(|_| "a field has letters that are not ASCII")).transpose()
}

fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    (is_whole && !name.is_empty()).then_some(name)
}

/// The password of `Basic dXNlcjpwYXNz`; the user's name is not looked at, for there is one user.
fn basic_password(written: &str) -> Option<Vec<u8>> {
    let (scheme, code) = written.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut both = STANDARD.decode(code.trim()).ok()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    Some(both.split_off(colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use hyper::header::HeaderValue;

    const NOW: Duration = Duration::from_secs(1000);

    fn access(password: Option<&str>) -> Access {
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            password: None,
            control: true,
            names: vec!["shed".into(), "shed.local".into()],
        };
        Access::new(&settings, password.map(|password| Secret::new(password.as_bytes().to_vec())))
    }

    fn request(method: Method, fields: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::new(());
        *request.method_mut() = method;
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        request.into_parts().0
    }

    fn status(access: &Access, method: Method, fields: &[(&str, &str)], now: Duration) -> u16 {
        let checked = access.check(&request(method, fields), IpAddr::from([192, 168, 1, 7]), now);
        checked.err().map_or(200, |refused| refused.status.as_u16())
    }

    #[test]
    fn only_an_address_or_a_name_of_ours_is_a_host() {
        let access = access(None);
        let of = |host: &str| status(&access, Method::GET, &[("host", host)], NOW);
        for host in ["127.0.0.1:8080", "192.168.1.2", "[::1]:8080", "[fe80::1]", "LocalHost", "shed.local.:80", "Shed"]
        {
            assert_eq!(of(host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "shed.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "0x7f.1",
        ] {
            assert_eq!(of(host), 421, "{host}");
        }
        for host in ["", ":80", "shed:80:80", "shed:x", "[::1]x", "shed:999999"] {
            assert_eq!(of(host), 400, "{host}");
        }
        assert_eq!(status(&access, Method::GET, &[], NOW), 400);
        assert_eq!(status(&access, Method::GET, &[("host", "shed"), ("host", "shed")], NOW), 400);
        assert_eq!(status(&access, Method::DELETE, &[("host", "shed")], NOW), 405);
    }

    #[test]
    fn what_a_page_from_elsewhere_can_send_changes_nothing() {
        let access = access(None);
        let good = [
            ("host", "shed:80"),
            ("origin", "http://shed:80"),
            ("x-fieldgate", "1"),
            ("content-type", "application/json"),
        ];
        assert_eq!(status(&access, Method::POST, &good, NOW), 200);
        let with = |name: &str, value: Option<&str>| {
            let mut fields: Vec<_> = good.iter().filter(|(field, _)| *field != name).copied().collect();
            fields.extend(value.map(|value| (name, value)));
            status(&access, Method::POST, &fields, NOW)
        };
        assert_eq!((with("origin", None), with("origin", Some("https://SHED:80"))), (200, 200));
        for origin in ["null", "http://evil.example", "http://shed", "http://shed:80.evil.example", "shed:80", ""] {
            assert_eq!(with("origin", Some(origin)), 403, "{origin}");
        }
        assert_eq!(
            (with("sec-fetch-site", Some("cross-site")), with("sec-fetch-site", Some("same-origin"))),
            (403, 200)
        );
        assert_eq!((with("x-fieldgate", None), with("x-fieldgate", Some("0"))), (403, 403));
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")] {
            assert_eq!(with("content-type", kind), 415);
        }
        let closed = Access { control: false, ..self::access(None) };
        assert_eq!(status(&closed, Method::POST, &good, NOW), 403);
    }

    #[test]
    fn a_password_is_asked_for_and_tries_are_bounded() {
        let access = access(Some("geheim: ja"));
        let of = |code: &str, now| status(&access, Method::GET, &[("host", "shed"), ("authorization", code)], now);
        let basic = |both: &str| format!("Basic {}", STANDARD.encode(both));
        assert_eq!(status(&access, Method::GET, &[("host", "shed")], NOW), 401);
        assert_eq!((of(&basic("me:geheim: ja"), NOW), of(&basic(":geheim: ja"), NOW)), (200, 200));
        for wrong in [basic("me:geheim: j"), basic("geheim: ja"), "Bearer x".into(), "Basic ???".into(), "Basic".into()]
        {
            assert_eq!(of(&wrong, NOW), 401, "{wrong}");
        }
        assert_eq!(of(&basic("me:geheim: ja"), NOW), 429, "not even looked at");
        assert_eq!(of(&basic("me:geheim: ja"), NOW + Duration::from_secs(3)), 200);
    }
}
