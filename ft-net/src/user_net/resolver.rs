//! The host's own resolver.

use std::net::{IpAddr, SocketAddr};

/// The first name server of the host. On Windows there is no file that says it: `nameserver=` does.
pub(super) fn of_host() -> Option<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").ok()?;
    first(&text).map(|address| SocketAddr::new(address, 53))
}

fn first(resolv_conf: &str) -> Option<IpAddr> {
    resolv_conf.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resolv_conf() {
        let text = "# nameserver 192.0.2.1\nsearch example.org\nnameserver fe80::1%eth0\nnameserver 192.0.2.53\n";
        assert_eq!(first(text), Some(IpAddr::from([192, 0, 2, 53])));
        assert_eq!(first(""), None);
    }
}
