//! The words of the MQTT specifications for their numbers, each with what a person can do about it.

/// `bad user name or password (4); check …`: a return code of CONNACK in MQTT 3.1.1 (section 3.2.2.3).
pub fn v4(code: u8) -> String {
    let (name, remedy) = match code {
        0 => ("connection accepted", ""),
        1 => ("unacceptable protocol version", "try mqtt.protocol: 5"),
        2 => ("identifier rejected", "choose another mqtt.client_id"),
        3 => ("server unavailable", "the broker runs but does not serve; look into its log"),
        4 => ("bad user name or password", USER),
        5 => ("not authorized", USER),
        _ => ("reserved return code", "look into the broker's log"),
    };
    join(name, &code.to_string(), remedy)
}

/// `not authorized (0x87); check …`: a reason code of MQTT 5 (section 2.4).
pub fn v5(code: u8) -> String {
    let (name, remedy) = describe_v5(code);
    join(name, &format!("0x{code:02X}"), remedy)
}

const USER: &str = "check mqtt.username, its password and the broker's access list";
const ACCESS: &str = "check mqtt.username, its password and the broker's access list for this topic";
const BROKER_LOG: &str = "look into the broker's log";
const OUR_FAULT: &str = "please report this as a fault of fieldgate";
const WAIT: &str = "it will be tried again";
const LIMITS: &str = "raise the broker's limit or lower the rate";

fn describe_v5(code: u8) -> (&'static str, &'static str) {
    match code {
        0x00 => ("success", ""),
        0x04 => ("disconnect with will message", ""),
        0x10 => ("no matching subscribers", ""),
        0x11 => ("no subscription existed", ""),
        0x80 => ("unspecified error", BROKER_LOG),
        0x81 => ("malformed packet", OUR_FAULT),
        0x82 => ("protocol error", OUR_FAULT),
        0x83 => ("implementation specific error", BROKER_LOG),
        0x84 => ("unsupported protocol version", "try mqtt.protocol: 3.1.1"),
        0x85 => ("client identifier not valid", "choose another mqtt.client_id"),
        0x86 => ("bad user name or password", USER),
        0x87 => ("not authorized", ACCESS),
        0x88 => ("server unavailable", "the broker runs but does not serve; look into its log"),
        0x89 => ("server busy", WAIT),
        0x8A => ("banned", "ask who runs the broker"),
        0x8B => ("server shutting down", WAIT),
        0x8C => ("bad authentication method", USER),
        0x8D => ("keep alive timeout", "the network between us and the broker stalls"),
        0x8E => ("session taken over", "another client uses the same mqtt.client_id; give each its own"),
        0x8F => ("topic filter invalid", "check mqtt.base_topic"),
        0x90 => ("topic name invalid", "check mqtt.base_topic"),
        0x91 => ("packet identifier in use", WAIT),
        0x92 => ("packet identifier not found", WAIT),
        0x93 => ("receive maximum exceeded", OUR_FAULT),
        0x94 => ("topic alias invalid", OUR_FAULT),
        0x95 => ("packet too large", "raise the broker's maximum packet size"),
        0x96 => ("message rate too high", LIMITS),
        0x97 => ("quota exceeded", LIMITS),
        0x98 => ("administrative action", "ask who runs the broker"),
        0x99 => ("payload format invalid", BROKER_LOG),
        0x9A => ("retain not supported", "the broker keeps no retained messages"),
        0x9B => ("QoS not supported", "lower mqtt.qos"),
        0x9C => ("use another server", "change mqtt.broker"),
        0x9D => ("server moved", "change mqtt.broker"),
        0x9E => ("shared subscriptions not supported", OUR_FAULT),
        0x9F => ("connection rate exceeded", WAIT),
        0xA0 => ("maximum connect time", WAIT),
        0xA1 => ("subscription identifiers not supported", OUR_FAULT),
        0xA2 => ("wildcard subscriptions not supported", "the broker must allow them for commands to arrive"),
        _ => ("unknown reason code", BROKER_LOG),
    }
}

fn join(name: &str, code: &str, remedy: &str) -> String {
    if remedy.is_empty() { format!("{name} ({code})") } else { format!("{name} ({code}); {remedy}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_codes_of_3_1_1_have_the_words_of_the_specification() {
        for (code, words) in [
            (1, "unacceptable protocol version (1)"),
            (2, "identifier rejected (2)"),
            (3, "server unavailable (3)"),
            (4, "bad user name or password (4)"),
            (5, "not authorized (5)"),
        ] {
            let found = v4(code);
            assert!(found.starts_with(words) && found.contains("; "), "{found}");
        }
    }

    #[test]
    fn every_failure_of_version_5_has_words_and_a_remedy() {
        assert!(v5(0x87).starts_with("not authorized (0x87); "));
        for code in (0x80..=0xA2).map(v5) {
            assert!(!code.starts_with("unknown") && code.contains("; "), "{code}");
        }
        assert_eq!(v5(0x10), "no matching subscribers (0x10)");
        assert!(v5(0xFF).starts_with("unknown reason code (0xFF)"));
    }
}
