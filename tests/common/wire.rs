//! MQTT 3.1.1 and 5 on the wire, as much as the scripted broker needs. Written from the specification, not from any
//! client library, so that it can contradict one.

use std::io::{self, Read};

/// A larger packet is an error in the test or in the program.
const PACKET_LIMIT: usize = 1 << 22;

/// A packet from a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Connect(Connect),
    Publish(Publish),
    PubAck {
        id: u16,
    },
    PubRec {
        id: u16,
    },
    PubRel {
        id: u16,
    },
    PubComp {
        id: u16,
    },
    /// Each filter with its options byte.
    Subscribe {
        id: u16,
        filters: Vec<(String, u8)>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    PingReq,
    /// The reason code is 0 under 3.1.1.
    Disconnect {
        reason: u8,
    },
    /// What no client should send.
    Other {
        first: u8,
        body: Vec<u8>,
    },
}

/// How a client introduces itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connect {
    /// 4 is 3.1.1, 5 is 5.
    pub level: u8,
    pub clean: bool,
    pub keep_alive: u16,
    pub client_id: String,
    pub will: Option<Will>,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub properties: Properties,
}

/// What the broker is to publish when the client is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

/// A message, in either direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    /// 0 at QoS 0.
    pub id: u16,
    pub properties: Properties,
}

impl Publish {
    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// MQTT 5 properties: identifier and value, without a length in front; a user property is `name=value`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(pub Vec<(u8, Vec<u8>)>);

impl Properties {
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const REASON_STRING: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARDS_AVAILABLE: u8 = 0x28;

    /// The value of the first property of that kind.
    pub fn get(&self, id: u8) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, value)| value.as_slice())
    }

    /// With one more.
    pub fn with(mut self, id: u8, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((id, value.into()));
        self
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (id, value) in &self.0 {
            body.push(*id);
            match shape(*id) {
                Some(Shape::Bytes) => put_bytes(&mut body, value),
                Some(Shape::Pair) => {
                    let at = value.iter().position(|byte| *byte == b'=').expect("a user property is name=value");
                    put_bytes(&mut body, &value[..at]);
                    put_bytes(&mut body, &value[at + 1..]);
                }
                _ => body.extend_from_slice(value),
            }
        }
        let mut encoded = length(body.len());
        encoded.append(&mut body);
        encoded
    }
}

enum Shape {
    Fixed(usize),
    Variable,
    Bytes,
    Pair,
}

/// Section 2.2.2.2 of MQTT 5.
fn shape(id: u8) -> Option<Shape> {
    Some(match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Shape::Fixed(1),
        0x13 | 0x21 | 0x22 | 0x23 => Shape::Fixed(2),
        0x02 | 0x11 | 0x18 | 0x27 => Shape::Fixed(4),
        0x0b => Shape::Variable,
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => Shape::Bytes,
        0x26 => Shape::Pair,
        _ => return None,
    })
}

/// Reads one packet: its first byte and its body. `None` at the end of the connection.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut first = [0];
    if stream.read(&mut first)? == 0 {
        return Ok(None);
    }
    let mut wanted = 0;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        wanted |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    if wanted > PACKET_LIMIT {
        return Err(io::Error::other(format!("a packet of {wanted} bytes")));
    }
    let mut body = vec![0; wanted];
    stream.read_exact(&mut body)?;
    Ok(Some((first[0], body)))
}

/// Reads what a frame says. `level` is that of the CONNECT before it.
pub fn parse(first: u8, body: &[u8], level: u8) -> Option<Packet> {
    let mut rest = Bytes(body);
    let v5 = level >= 5;
    Some(match first >> 4 {
        1 => Packet::Connect(connect(&mut rest)?),
        3 => Packet::Publish(publish(first, &mut rest, v5)?),
        4 => Packet::PubAck { id: rest.u16()? },
        5 => Packet::PubRec { id: rest.u16()? },
        6 if first == 0x62 => Packet::PubRel { id: rest.u16()? },
        7 => Packet::PubComp { id: rest.u16()? },
        8 if first == 0x82 => {
            let id = rest.u16()?;
            rest.properties_if(v5)?;
            let mut filters = Vec::new();
            while !rest.0.is_empty() {
                filters.push((rest.text()?, rest.u8()?));
            }
            Packet::Subscribe { id, filters }
        }
        10 if first == 0xa2 => {
            let id = rest.u16()?;
            rest.properties_if(v5)?;
            let mut filters = Vec::new();
            while !rest.0.is_empty() {
                filters.push(rest.text()?);
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::PingReq,
        14 => Packet::Disconnect { reason: rest.u8().unwrap_or(0) },
        _ => Packet::Other { first, body: body.to_vec() },
    })
}

fn connect(rest: &mut Bytes<'_>) -> Option<Connect> {
    if rest.text()? != "MQTT" {
        return None;
    }
    let level = rest.u8()?;
    let flags = rest.u8()?;
    let keep_alive = rest.u16()?;
    let properties = rest.properties_if(level >= 5)?;
    let client_id = rest.text()?;
    let mut will = None;
    if flags & 0x04 != 0 {
        let properties = rest.properties_if(level >= 5)?;
        let (topic, payload) = (rest.text()?, rest.bytes()?.to_vec());
        will = Some(Will { topic, payload, qos: flags >> 3 & 3, retain: flags & 0x20 != 0, properties });
    }
    let user = if flags & 0x80 != 0 { Some(rest.text()?) } else { None };
    let password = if flags & 0x40 != 0 { Some(rest.bytes()?.to_vec()) } else { None };
    Some(Connect { level, clean: flags & 2 != 0, keep_alive, client_id, will, user, password, properties })
}

fn publish(first: u8, rest: &mut Bytes<'_>, v5: bool) -> Option<Publish> {
    let qos = first >> 1 & 3;
    let topic = rest.text()?;
    let id = if qos > 0 { rest.u16()? } else { 0 };
    let properties = rest.properties_if(v5)?;
    let (dup, retain) = (first & 8 != 0, first & 1 != 0);
    Some(Publish { topic, payload: rest.0.to_vec(), qos, dup, retain, id, properties })
}

/// A message to a client.
pub fn encode_publish(message: &Publish, v5: bool) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, message.topic.as_bytes());
    if message.qos > 0 {
        body.extend(message.id.to_be_bytes());
    }
    if v5 {
        body.extend(message.properties.encode());
    }
    body.extend_from_slice(&message.payload);
    frame(0x30 | u8::from(message.dup) << 3 | message.qos << 1 | u8::from(message.retain), body)
}

/// The answer to a CONNECT.
pub fn encode_connack(session_present: bool, code: u8, properties: &Properties, v5: bool) -> Vec<u8> {
    let mut body = vec![u8::from(session_present), code];
    if v5 {
        body.extend(properties.encode());
    }
    frame(0x20, body)
}

/// PUBACK and the like; a reason other than 0 exists under MQTT 5 only.
pub fn encode_ack(first: u8, id: u16, reason: u8, v5: bool) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if v5 && reason != 0 {
        body.push(reason);
    }
    frame(first, body)
}

/// The answer to a SUBSCRIBE or, without codes under 3.1.1, to an UNSUBSCRIBE.
pub fn encode_suback(first: u8, id: u16, codes: &[u8], v5: bool) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if v5 {
        body.push(0);
    }
    body.extend_from_slice(codes);
    frame(first, body)
}

/// The broker's own DISCONNECT, MQTT 5 only.
pub fn encode_disconnect(reason: u8) -> Vec<u8> {
    frame(0xe0, vec![reason, 0])
}

/// A whole packet.
pub fn frame(first: u8, mut body: Vec<u8>) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(length(body.len()));
    packet.append(&mut body);
    packet
}

fn length(mut value: usize) -> Vec<u8> {
    let mut encoded = Vec::new();
    loop {
        let more = value > 0x7f;
        encoded.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
        value >>= 7;
        if !more {
            return encoded;
        }
    }
}

fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(u16::try_from(bytes.len()).expect("short enough for MQTT").to_be_bytes());
    body.extend_from_slice(bytes);
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn variable(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn properties_if(&mut self, v5: bool) -> Option<Properties> {
        let mut properties = Properties::default();
        if !v5 {
            return Some(properties);
        }
        let count = self.variable()?;
        let mut rest = Bytes(self.take(count)?);
        while !rest.0.is_empty() {
            let id = rest.u8()?;
            let value = match shape(id)? {
                Shape::Fixed(count) => rest.take(count)?.to_vec(),
                Shape::Variable => u32::try_from(rest.variable()?).ok()?.to_be_bytes().to_vec(),
                Shape::Bytes => rest.bytes()?.to_vec(),
                Shape::Pair => [rest.bytes()?, b"=", rest.bytes()?].concat(),
            };
            properties.0.push((id, value));
        }
        Some(properties)
    }
}
