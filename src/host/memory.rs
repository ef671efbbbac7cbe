//! How much memory the host has, where that is cheaply known.

use anyhow::{Result, ensure};

/// Refuses guest memory that this host cannot have: RAM is mapped lazily, so that the host would find out by killing us.
///
/// # Errors
/// If the host has less.
pub(crate) fn check(bytes: u64) -> Result<()> {
    if let Some(host) = host_bytes() {
        ensure!(
            bytes <= host,
            "--memory {}M is more than the {} MiB that this host has: choose less",
            bytes >> 20,
            host >> 20
        );
    }
    Ok(())
}

/// Physical memory in bytes; `None` if it is not cheaply known.
fn host_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    total(&text)
}

/// The line `MemTotal:  16384 kB` (`proc(5)`).
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_total_is_found() {
        let text = "MemFree: 1 kB\nMemTotal:       16384 kB\nMemAvailable: 7 kB\n";
        assert_eq!(super::total(text), Some(16 << 20));
        assert_eq!(super::total("MemTotal: many kB\n"), None);
    }

    #[test]
    fn what_no_host_has_is_refused() {
        if super::host_bytes().is_some() {
            assert!(super::check(1 << 60).is_err());
        }
        assert!(super::check(1 << 20).is_ok());
    }
}
