//! The size of the terminal at which somebody sits who is attached to a pair.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::harness::{VIRTIO, initrd, linux};
use crate::pair::{Site, until};

/// `ftemu attach` at a terminal of its own.
struct Attached {
    child: Child,
    terminal: File,
}

impl Attached {
    fn new(site: &Site, rows: u16, columns: u16) -> Self {
        let (terminal, screen) = open_terminal(rows, columns);
        let mut command = site.attach_command();
        command.stdin(Stdio::null()).stdout(screen).stderr(Stdio::null());
        let child = without_our_terminal(&mut command).spawn().unwrap();
        let mut shown = terminal.try_clone().unwrap();
        thread::spawn(move || while matches!(shown.read(&mut [0; 4096]), Ok(1..)) {});
        Self { child, terminal }
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads a winsize.
        assert_eq!(unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a terminal: whoever has it, and its screen.
fn open_terminal(rows: u16, columns: u16) -> (File, File) {
    let (mut master, mut slave) = (-1, -1);
    let mut size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let none = std::ptr::null_mut();
    // SAFETY: openpty(3) writes two descriptors and reads a size; no name and no attributes are given.
    assert_eq!(unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), &raw mut size) }, 0);
    // SAFETY: both have just been opened, and nobody else has them.
    unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) }
}

/// The process must not find the terminal from which the tests are run.
fn without_our_terminal(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only setsid(2) is called, which may be; it has no preconditions.
    unsafe { command.pre_exec(|| if libc::setsid() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }) }
}

/// Says every new size, and ends at the last.
const SCRIPT: &str = r#"
exec < /dev/hvc0 > /dev/hvc0 2>&1
while [ "$size" != "50 120" ]; do
new=$(stty size 2>/dev/null); [ "$new" = "$size" ] || echo "size $new"; size=$new; usleep 50000
done
poweroff -f"#;

#[test]
fn a_pair_knows_the_size_of_the_terminal() {
    let Some(linux) = linux() else { return };
    let site = Site::new("5000");
    let room = tempfile::tempdir().unwrap();
    let (kernel, disk) = (linux.join("vmlinuz"), room.path().join("initrd"));
    let modules = [&VIRTIO[..], &["drivers/char/virtio_console"]].concat();
    std::fs::write(&disk, initrd(&linux, &modules, SCRIPT)).unwrap();
    let append = "console=hvc0 panic=-1 loglevel=3";
    let options = ["--console", "virtio", "--initrd", disk.to_str().unwrap(), "--memory", "128M", "--append", append];
    let primary = site.run(&[&[kernel.to_str().unwrap(), "--primary"], &options[..]].concat());
    let attached = Attached::new(&site, 40, 100);
    let says = |size: &str| until(size, || sizes(&site).last().is_some_and(|last| last == size));
    says("40 100");
    let mut backup = site.backup();
    attached.resize(45, 110);
    says("45 110");
    primary.kill();
    backup.hear("TOOK OVER");
    attached.resize(50, 120);
    assert_eq!(backup.code(), Some(0));
    let sizes = sizes(&site);
    assert!(sizes.ends_with(&["40 100", "45 110", "50 120"].map(str::to_owned)), "{sizes:?}");
}

/// What the guest has said of sizes.
fn sizes(site: &Site) -> Vec<String> {
    let record = site.record();
    let text = String::from_utf8_lossy(&record);
    text.split_inclusive("\r\n")
        .filter_map(|line| Some(line.strip_prefix("size ")?.strip_suffix("\r\n")?.to_owned()))
        .collect()
}
