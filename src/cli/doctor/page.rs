//! The page for browsers: whether somebody listens where the configuration says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::cli::doctor::check::{Check, Finding, NO_CONFIGURATION, Verdict};
use crate::cli::doctor::situation::{PageFacts, Situation};
use crate::cli::doctor::unit;

/// Whether the page is served where the configuration says.
pub(super) const PAGE: Check =
    Check { id: "page", title: "the page for browsers", causes: &["page-not-served"], judge };

/// How long a connection to this machine may take.
const PATIENCE: Duration = Duration::from_secs(2);

fn judge(situation: &Situation) -> Verdict {
    let Some(page) = &situation.page else {
        let has_none = situation.buses.is_some();
        return Verdict::not_checked(if has_none { "the configuration has no http:" } else { NO_CONFIGURATION });
    };
    if !unit::is_running(situation) {
        return Verdict::not_checked("the service does not run");
    }
    let listen = page.listen;
    let words = format!(
        "nobody answers on {listen}, although the service runs: it was started with another configuration, this board does not \
         have the address, or its port is another program's"
    );
    let silent = Finding::new("page-not-served", words, format!("sudo ss -ltnp 'sport = :{}'", listen.port()));
    Verdict::of((!page.is_served).then_some(silent).into_iter().collect(), format!("somebody answers on {listen}"))
}

/// Connects to where the page is to be, and asks nothing.
pub(super) fn gather(listen: SocketAddr) -> PageFacts {
    let here = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let is_served = TcpStream::connect_timeout(&SocketAddr::new(here, listen.port()), PATIENCE).is_ok();
    PageFacts { listen, is_served }
}
