//! What must be true of what somebody outside has seen.

use anyhow::{Result, bail, ensure};

use super::stage::Ended;

/// A line that was seen and is not what the record says.
pub(super) struct Contradiction {
    pub(super) seen: String,
    pub(super) record: String,
}

/// The first line in which what was seen differs from the record.
pub(super) fn contradiction(ended: &Ended) -> Option<Contradiction> {
    let differ = ended.seen.iter().zip(&ended.record).position(|(seen, record)| seen != record)?;
    let line = |bytes: &[u8]| {
        let start = bytes[..differ].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let end = bytes[start..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| start + at);
        String::from_utf8_lossy(&bytes[start..end]).trim_end().to_owned()
    };
    Some(Contradiction { seen: line(&ended.seen), record: line(&ended.record) })
}

/// Nothing seen was taken back, and everything recorded was seen.
fn is_one_history(ended: &Ended) -> Result<()> {
    if let Some(Contradiction { seen, record }) = contradiction(ended) {
        bail!("CONTRADICTED: {seen:?} was seen, and the record says {record:?}");
    }
    let (seen, record) = (ended.seen.len(), ended.record.len());
    ensure!(seen == record, "{seen} bytes were seen, and the record has {record}");
    ensure!(ended.code == Some(0), "the guest ended with code {:?}", ended.code);
    Ok(())
}

/// The record is the output of an undisturbed run.
pub(super) fn same_as_undisturbed(ended: &Ended, undisturbed: &[u8]) -> Result<()> {
    is_one_history(ended)?;
    let differ = ended.record.iter().zip(undisturbed).position(|(a, b)| a != b);
    if let Some(offset) = differ {
        bail!("FAILED: byte {offset} of the record is not that of an undisturbed run");
    }
    let (record, undisturbed) = (ended.record.len(), undisturbed.len());
    ensure!(record == undisturbed, "FAILED: the record has {record} bytes, an undisturbed run {undisturbed}");
    Ok(())
}

/// The ticks that the clock guest reports follow each other, and their time stamps only grow. Gives the number of lines.
pub(super) fn clock_is_consistent(ended: &Ended) -> Result<usize> {
    is_one_history(ended)?;
    let text = String::from_utf8_lossy(&ended.record);
    let (mut tick, mut tsc, mut lines) = (0, 0, 0);
    let mut verdict = "";
    for line in text.lines() {
        lines += 1;
        let Some((next_tick, next_tsc)) = reading(line) else {
            verdict = line;
            continue;
        };
        ensure!(next_tick == tick + 10, "FAILED: tick {next_tick} after tick {tick}");
        ensure!(next_tsc > tsc, "FAILED: time ran backwards at tick {next_tick}");
        (tick, tsc) = (next_tick, next_tsc);
    }
    ensure!(verdict.starts_with("clock: monotonic"), "FAILED: the guest says {verdict:?}");
    ensure!(lines > 1, "FAILED: the guest said nothing");
    Ok(lines)
}

/// Tick and time stamp of a line `tick 10: tsc 201334219, 5120 reads`.
fn reading(line: &str) -> Option<(u64, u64)> {
    let (tick, rest) = line.strip_prefix("tick ")?.split_once(": tsc ")?;
    let (tsc, _) = rest.split_once(',')?;
    Some((tick.parse().ok()?, tsc.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(seen: &str, record: &str) -> Ended {
        Ended { code: Some(0), seen: seen.into(), record: record.into() }
    }

    #[test]
    fn what_was_seen_and_is_not_there_any_more_is_found() {
        let found = contradiction(&ended("a\r\nb 1\r\nc\r\n", "a\r\nb 2\r\nd\r\n")).unwrap();
        assert_eq!((found.seen.as_str(), found.record.as_str()), ("b 1", "b 2"));
        assert!(contradiction(&ended("a\n", "a\nb\n")).is_none());
    }

    #[test]
    fn a_byte_more_or_less_fails() {
        assert!(same_as_undisturbed(&ended("1\n2\n", "1\n2\n"), b"1\n2\n").is_ok());
        for (seen, record, undisturbed) in [("1\n", "1\n2\n", "1\n2\n"), ("1\n2\n", "1\n2\n", "1\n"), ("1", "1", "2")] {
            assert!(same_as_undisturbed(&ended(seen, record), undisturbed.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_clock_with_a_hole_or_a_step_back_fails() {
        let check = |text: &str| clock_is_consistent(&ended(text, text));
        let end = "clock: monotonic, 20 ticks\n";
        assert_eq!(check(&format!("tick 10: tsc 5, 1 reads\ntick 20: tsc 9, 2 reads\n{end}")).unwrap(), 3);
        assert!(check(&format!("tick 10: tsc 5, 1 reads\ntick 30: tsc 9, 2 reads\n{end}")).is_err());
        assert!(check(&format!("tick 10: tsc 5, 1 reads\ntick 20: tsc 4, 2 reads\n{end}")).is_err());
        assert!(check("tick 10: tsc 5, 1 reads\nclock: RAN BACKWARDS, 20 ticks\n").is_err());
    }
}
