//! What the guest remembers of its console, against what the console says: byte for byte.
//!
//! Whatever is on the console was written by the kernel, which keeps it in its log, or by programs through the driver of the
//! serial line, which counts the bytes. Of the programs' bytes, systemd's lines about units are in its journal, and the rest
//! is known.

use crate::terminal::{QUIET, Terminal};

/// What makes the kernel say on the console all that it keeps in its log, and systemd write plain text.
pub const APPEND: &str = "loglevel=8 SYSTEMD_COLORS=0";

/// What the guest knows about a moment at which the console is silent.
pub struct Remembered {
    /// The log of the kernel, by lines.
    kernel: Vec<String>,
    /// What systemd has said about units.
    journal: Vec<String>,
    /// Bytes that the serial line has sent for programs, and received.
    sent: usize,
    received: usize,
    /// All that has been said and typed outside.
    console: Vec<u8>,
    typed: usize,
    /// What programs say during a boot, without systemd's lines about units.
    boot: String,
}

impl Remembered {
    /// Asks the guest. From here on its kernel is silent.
    pub fn ask(terminal: &mut Terminal) -> Self {
        let udev = terminal.shell("dpkg-query -Wf '${Version}' udev");
        let (uname, motd) = (terminal.shell("uname -snrvm"), terminal.shell("cat /etc/motd"));
        let console = terminal.so_far().0.to_vec();
        terminal.shell(
            "dmesg -n 1; cd /run; dmesg -S > kernel; cat /proc/tty/driver/serial > line; \
             journalctl -b -o cat -t systemd > journal; cd",
        );
        let typed = terminal.so_far().1;
        let mut lines = |name: &str| -> Vec<String> {
            terminal.shell(&format!("cat /run/{name}")).lines().map(str::to_owned).collect()
        };
        let (kernel, journal, line) = (lines("kernel"), lines("journal"), lines("line").join("\n"));
        let count = |name: &str| {
            let rest = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line}")).1;
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        let boot = boot(&udev, &uname, &motd);
        Self { kernel, journal, sent: count("tx:"), received: count("rx:"), console, typed, boot }
    }

    /// Everything that was said and typed until then has come through once, and as it was.
    pub fn agrees(&self) {
        let programs = self.without_kernel();
        assert_eq!(programs.len(), self.sent, "bytes of programs, and bytes sent for programs");
        assert_eq!(self.typed, self.received, "bytes typed, and bytes received");
        let programs = String::from_utf8(programs).unwrap().replace('\r', "");
        let rest = self.without_units(&programs);
        let said: Vec<&str> = rest.lines().take(self.boot.lines().count()).collect();
        assert_eq!(said, self.boot.lines().collect::<Vec<_>>(), "what a boot says");
    }

    /// The console without the lines of the kernel: all of them are there, in their order.
    fn without_kernel(&self) -> Vec<u8> {
        let (mut left, mut rest) = (&self.console[..], Vec::new());
        for line in &self.kernel {
            let line = [line.as_bytes(), b"\r\n"].concat();
            let at = left.windows(line.len()).position(|window| window == line);
            let at = at.unwrap_or_else(|| panic!("{:?} is missing", String::from_utf8_lossy(&line)));
            rest.extend(&left[..at]);
            left = &left[at + line.len()..];
        }
        rest.extend(left);
        rest
    }

    /// The text of programs without the lines of systemd about units: each of them is in the journal, too.
    fn without_units(&self, programs: &str) -> String {
        let (mut journal, mut rest) = (self.journal.clone(), String::new());
        for line in programs.replace("\x1bM", "").replace("\x1b[K", "").split_inclusive('\n') {
            // What is shown while a job takes long goes away again.
            if let Some((at, _)) = line.match_indices('[').find(|&(at, _)| is_patience(&line[at..])) {
                rest.push_str(&line[..at]);
                continue;
            }
            let Some((before, unit)) = ["[  OK  ] ", "         "].iter().find_map(|mark| line.split_once(mark)) else {
                rest.push_str(line);
                continue;
            };
            rest.push_str(before);
            // A line that is too long has dots in the middle.
            let (start, end) = unit.trim_end().split_once('…').unwrap_or((unit.trim_end(), ""));
            let is_it = |entry: &String| entry.starts_with(start) && entry[start.len()..].ends_with(end);
            let entry = journal.iter().position(is_it).unwrap_or_else(|| panic!("{unit:?} is not in the journal"));
            journal.remove(entry);
        }
        rest
    }
}

/// Asterisks that wander.
fn is_patience(text: &str) -> bool {
    let stars = text.get(1..7).is_some_and(|stars| stars.contains('*') && stars.chars().all(|c| " *".contains(c)));
    stars && text[7..].starts_with("] ")
}

/// What programs say from the first to the shell that [`Terminal::log_in`] makes.
fn boot(udev: &str, uname: &str, motd: &str) -> String {
    format!(
        "Loading, please wait...\n\
         Starting systemd-udevd version {udev}\n\
         Begin: Loading essential drivers ... done.\n\
         Begin: Running /scripts/init-premount ... done.\n\
         Begin: Mounting root file system ... Begin: Running /scripts/local-top ... done.\n\
         Begin: Running /scripts/local-premount ... done.\n\
         Warning: fsck not present, so skipping root file system\n\
         done.\n\
         Begin: Running /scripts/local-bottom ... done.\n\
         Begin: Running /scripts/init-bottom ... done.\n\
         \n\
         Welcome to Debian GNU/Linux 12 (bookworm)!\n\
         \n\
         \n\
         Debian GNU/Linux 12 ftemu ttyS0\n\
         \n\
         ftemu login: root\n\
         {uname}{motd}\
         \x1b[?2004hroot@ftemu:~# exec sh\n\
         \x1b[?2004l# {QUIET}\n\
         ready\n"
    )
}
