//! A log file as it grows.

use std::io::Write;

use super::{LogError, LogHeader, Totals};

/// Writes a log. Every segment reaches the operating system before the call returns, so that a recorder that is killed
/// loses no more than what it had not yet handed over.
#[derive(Debug)]
pub struct LogWriter<W> {
    output: W,
    offset: u64,
}

impl<W: Write> LogWriter<W> {
    /// Begins a log. The segments of a machine ([`crate::snapshot`]) must come next.
    ///
    /// # Errors
    /// If writing fails.
    pub fn create(output: W, header: &LogHeader) -> Result<Self, LogError> {
        let mut writer = Self { output, offset: 0 };
        writer.write_segment(&header.encode())?;
        Ok(writer)
    }

    /// Appends a segment.
    ///
    /// # Errors
    /// If writing fails; what the file then ends with is read as a log that breaks off.
    pub fn write_segment(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.output.write_all(bytes)?;
        self.output.flush()?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Ends the log on purpose.
    ///
    /// # Errors
    /// If writing fails.
    pub fn finish(mut self, totals: &Totals) -> Result<W, LogError> {
        self.write_segment(&totals.encode())?;
        Ok(self.output)
    }

    /// Bytes written so far.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives the output back without ending the log.
    pub fn into_inner(self) -> W {
        self.output
    }
}
