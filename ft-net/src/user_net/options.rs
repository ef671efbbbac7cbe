//! What the user says of the network: `user[,hostfwd=...][,mac=...][,restrict=on][,nameserver=...]`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

use super::plan::{GUEST, is_local};

/// The hardware address that a guest has unless the user says otherwise; the first of QEMU's.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// A port of the host that leads into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where the host listens; port 0: any.
    pub host: SocketAddr,
    /// Where that leads.
    pub guest: SocketAddrV4,
}

/// A user-mode network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetOptions {
    /// The guest's hardware address.
    pub mac: [u8; 6],
    /// The guest reaches nobody; forwarded ports reach it.
    pub restrict: bool,
    /// Ports that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Who answers the guest's DNS queries, instead of the host's own resolver.
    pub nameserver: Option<SocketAddr>,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self { mac: MAC, restrict: false, forwards: Vec::new(), nameserver: None }
    }
}

/// What is wrong with options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// There is no such network.
    Network(String),
    /// There is no such option.
    Unknown(String),
    /// A value that the option cannot have: (option, value, what it should look like).
    Value(&'static str, String, &'static str),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) => write!(f, "there is no network {name:?}: only user"),
            Self::Unknown(option) => {
                write!(f, "a network has no option {option:?}: hostfwd, mac, restrict and nameserver are known")
            }
            Self::Value(option, value, form) => write!(f, "{option}={value}: {form}"),
        }
    }
}

impl std::error::Error for OptionError {}

impl FromStr for NetOptions {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let mut parts = text.split(',');
        let network = parts.next().unwrap_or_default();
        if network != "user" {
            return Err(OptionError::Network(network.to_owned()));
        }
        let mut options = Self::default();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, "on"));
            let bad = |option, form| OptionError::Value(option, value.to_owned(), form);
            match name {
                "hostfwd" => {
                    let form = "a forwarded port looks like tcp:127.0.0.1:8080-:80 or udp::5353-10.0.2.15:53";
                    options.forwards.push(forward(value).ok_or_else(|| bad("hostfwd", form))?);
                }
                "mac" => {
                    let form = "an address looks like 52:54:00:12:34:56, and is not one of a group";
                    options.mac = mac(value).ok_or_else(|| bad("mac", form))?;
                }
                "restrict" => {
                    options.restrict = match value {
                        "on" | "yes" | "y" => true,
                        "off" | "no" | "n" => false,
                        _ => return Err(bad("restrict", "on or off")),
                    };
                }
                "nameserver" => {
                    let form = "a name server looks like 192.0.2.1 or 192.0.2.1:5353";
                    options.nameserver = Some(nameserver(value).ok_or_else(|| bad("nameserver", form))?);
                }
                _ => return Err(OptionError::Unknown(part.to_owned())),
            }
        }
        Ok(options)
    }
}

/// `PROTOCOL:[[HOST]:]PORT-[GUEST]:PORT`. Without a host address it listens on loopback only.
fn forward(text: &str) -> Option<Forward> {
    let (protocol, rest) = text.split_once(':')?;
    let protocol = match protocol {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let (host, guest) = rest.split_once('-')?;
    let (address, port) = host.rsplit_once(':').unwrap_or(("", host));
    let address = match address {
        "" => Ipv4Addr::LOCALHOST.into(),
        _ => address.trim_matches(['[', ']']).parse().ok()?,
    };
    let host = SocketAddr::new(address, number(port)?);
    let (address, port) = guest.rsplit_once(':')?;
    let address = if address.is_empty() { GUEST } else { address.parse().ok().filter(|&it| is_local(it))? };
    let guest = SocketAddrV4::new(address, number(port).filter(|&port| port != 0)?);
    Some(Forward { protocol, host, guest })
}

/// A port number in digits only.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = text.split(':').map(|part| match part.len() {
        2 => u8::from_str_radix(part, 16).ok(),
        _ => None,
    });
    let mac = [bytes.next()??, bytes.next()??, bytes.next()??, bytes.next()??, bytes.next()??, bytes.next()??];
    (bytes.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

fn nameserver(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)))
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol}:{}-{}", self.host, self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NetOptions, String> {
        text.parse().map_err(|error: OptionError| error.to_string())
    }

    #[test]
    fn forwards_as_in_qemu() {
        for (text, form) in [
            ("tcp:8080-:80", "tcp:127.0.0.1:8080-10.0.2.15:80"),
            ("tcp::8080-:80", "tcp:127.0.0.1:8080-10.0.2.15:80"),
            (":0.0.0.0:8080-10.0.2.9:80", "tcp:0.0.0.0:8080-10.0.2.9:80"),
            ("udp:[::1]:0-:53", "udp:[::1]:0-10.0.2.15:53"),
        ] {
            let options = parse(&format!("user,hostfwd={text}")).unwrap();
            assert_eq!(options.forwards[0].to_string(), form);
        }
        assert_eq!(parse("user,hostfwd=tcp:1-:2,hostfwd=udp:3-:4").unwrap().forwards.len(), 2);
    }

    #[test]
    fn other_options() {
        assert_eq!(parse("user"), Ok(NetOptions::default()));
        let all = parse("user,mac=52:54:00:aB:cd:ef,restrict,nameserver=127.0.0.1:5300").unwrap();
        assert_eq!((all.mac, all.restrict), ([0x52, 0x54, 0, 0xab, 0xcd, 0xef], true));
        assert_eq!(all.nameserver.unwrap().to_string(), "127.0.0.1:5300");
        assert_eq!(parse("user,nameserver=::1").unwrap().nameserver.unwrap().to_string(), "[::1]:53");
        assert!(!parse("user,restrict=off").unwrap().restrict);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bad = |text: &str, word: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        };
        bad("", "only user");
        bad("tap", "only user");
        bad("user,", "no option \"\"");
        bad("user,smb=x", "\"smb=x\"");
        bad("user,restrict=maybe", "on or off");
        for forward in [
            "",
            "tcp",
            "tcp:80",
            "tcp:80-80",
            "sctp:80-:80",
            "tcp:x-:80",
            "tcp:+1-:80",
            "tcp:80-:0",
            "tcp:80-:65536",
            "tcp:80-:",
            "tcp:1.2.3:80-:80",
            "tcp:80-192.0.2.1:80",
            "tcp:80-10.0.2.2:80",
            "tcp:65536-:1",
        ] {
            bad(&format!("user,hostfwd={forward}"), "a forwarded port looks like");
        }
        for mac in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "5:254:00:12:34:56",
            "53:54:00:12:34:56",
            "zz:54:00:12:34:56",
        ] {
            bad(&format!("user,mac={mac}"), "an address looks like");
        }
        bad("user,nameserver=dns", "a name server looks like");
    }
}
