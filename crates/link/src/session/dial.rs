//! The way to a broker: a socket, TLS and a websocket around it where the address says so.
//!
//! It is dialled here and not by the client library, so that the library's packets can be seen ([`super::wire`]) and one way
//! serves both generations of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::bytes::{ByteReader, ByteWriter};
use async_tungstenite::tokio::client_async;
use async_tungstenite::tungstenite::Error as WebsocketError;
use async_tungstenite::tungstenite::client::ClientRequestBuilder;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{Broker, Transport};

/// Between the attempts on the addresses of one name: one that swallows packets must not keep the others waiting.
const NEXT_ADDRESS: Duration = Duration::from_millis(100);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 32;

/// Bytes in both directions, however they travel.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// How one broker is reached.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) broker: Broker,
    /// Where the transport wants it.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The address of ours to connect from; `None`: the system chooses.
    pub(crate) bind_address: Option<IpAddr>,
}

impl Dialer {
    /// Connects, up to the point where MQTT begins.
    pub(super) async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        if self.broker.transport == Transport::Unix {
            return self.local().await;
        }
        let tcp = self.tcp(self.resolve().await?).await?;
        let stream = self.encrypt(tcp).await?;
        self.wrap(stream).await
    }

    /// A socket of this machine.
    pub(crate) async fn local(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(UnixStream::connect(&self.broker.path).await?))
    }

    /// The addresses of the broker's name, of the family of our own address where that is set.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = lookup_host((self.broker.host.as_str(), self.broker.port)).await?;
        let fits = |address: &SocketAddr| self.bind_address.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4());
        Ok(found.filter(fits).take(MAX_ADDRESSES).collect())
    }

    /// TLS, where the transport wants it.
    pub(crate) async fn encrypt(&self, tcp: TcpStream) -> io::Result<Box<dyn Stream>> {
        match (self.broker.transport, &self.tls) {
            (Transport::Tls | Transport::Wss, Some(tls)) => {
                let name =
                    ServerName::try_from(self.broker.host_without_zone().to_owned()).map_err(io::Error::other)?;
                Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?))
            }
            (Transport::Tls | Transport::Wss, None) => Err(io::Error::other("no TLS settings")),
            _ => Ok(Box::new(tcp)),
        }
    }

    /// A websocket, where the transport wants it.
    pub(crate) async fn wrap(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        match self.broker.transport {
            Transport::Ws | Transport::Wss => websocket(&self.broker, stream).await,
            _ => Ok(stream),
        }
    }

    /// The first of the addresses that answers.
    pub(crate) async fn tcp(&self, addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
        let attempt = |(delay, address)| async move {
            tokio::time::sleep(delay).await;
            connect(address, self.bind_address).await
        };
        let delays = (0u32..).map(|index| NEXT_ADDRESS * index);
        let mut attempts: FuturesUnordered<_> = delays.zip(addresses).map(attempt).collect();
        let mut last = None;
        while let Some(result) = attempts.next().await {
            match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of that family")))
    }
}

async fn connect(address: SocketAddr, bind_address: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Some(bind) = bind_address {
        socket.bind(SocketAddr::new(bind, 0))?;
    }
    socket.connect(address).await
}

async fn websocket(broker: &Broker, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
    let uri = websocket_url(broker).parse().map_err(io::Error::other)?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol("mqtt");
    let (socket, _) = client_async(request, stream).await.map_err(|error| websocket_error(broker, error))?;
    let (sender, receiver) = socket.split();
    Ok(Box::new(tokio::io::join(ByteReader::new(receiver), ByteWriter::new(sender))))
}

/// `ws://host:port/path?query`.
fn websocket_url(broker: &Broker) -> String {
    let (scheme, host) = (broker.transport.scheme(), broker.host_without_zone());
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    format!("{scheme}://{open}{host}{close}:{}{}", broker.port, broker.path)
}

fn websocket_error(broker: &Broker, error: WebsocketError) -> io::Error {
    // A query may be a password, so it is not quoted.
    let path = broker.path.split('?').next().unwrap_or_default();
    match error {
        WebsocketError::Io(error) => error,
        WebsocketError::Http(response) => io::Error::other(format!(
            "no websocket at {path:?}, HTTP says {}; check the path in mqtt.broker",
            response.status()
        )),
        other => io::Error::other(format!("no MQTT by websocket at {path:?} ({other})")),
    }
}

/// Whether the broker has closed the websocket, which is no error to the one below it.
pub(super) fn is_websocket_end(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(WebsocketError::ConnectionClosed | WebsocketError::AlreadyClosed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use crate::{Protocol, Transport};
    use tokio::net::TcpListener;

    /// A board with two networks says by which one its broker is reached.
    #[tokio::test]
    async fn a_connection_comes_from_the_address_that_is_configured_and_goes_to_its_family() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let broker = settings(Protocol::V5).brokers.remove(0);
        let broker = Broker { transport: Transport::Tcp, host: "127.0.0.1".into(), port: place.port(), ..broker };
        let from = |address: &str| Dialer { broker: broker.clone(), tls: None, bind_address: address.parse().ok() };
        for (ours, seen) in [("127.0.0.2", "127.0.0.2"), ("", "127.0.0.1")] {
            let (dialled, accepted) = tokio::join!(async { from(ours).dial().await }, listener.accept());
            assert!(dialled.is_ok());
            assert_eq!(accepted.unwrap().1.ip().to_string(), seen);
        }
        assert_eq!(from("127.0.0.2").resolve().await.unwrap(), [place]);
        assert!(from("::1").resolve().await.unwrap().is_empty(), "it has no address of that family");
        assert_eq!(from("::1").dial().await.map(drop).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
