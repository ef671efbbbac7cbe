//! What is typed: at a terminal with a few keys of our own, or piped in.

use std::io::Read;
use std::sync::mpsc::{self, Receiver, Sender};

use super::{errors, signals, terminal};

/// Introduces our own keys, as in other emulators.
const CTRL_A: u8 = 0x01;
const CTRL_C: u8 = 0x03;

const HELP: &str =
    "Ctrl-A x or Ctrl-C: stop this ftemu; Ctrl-A Ctrl-C, Ctrl-A Ctrl-A: send Ctrl-C, Ctrl-A to the guest";

/// Starts reading stdin; a terminal becomes raw. The channel ends with the input; a guest does not.
pub(crate) fn start() -> Receiver<Vec<u8>> {
    let raw = terminal::enter_raw();
    let (to, typed) = mpsc::channel();
    // Blocked in a read most of the time, it dies with the process.
    std::thread::spawn(move || read(raw, &to));
    typed
}

fn read(raw: bool, to: &Sender<Vec<u8>>) {
    let (mut keys, mut buffer) = (Keys::default(), [0; 4096]);
    while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
        let bytes = match raw {
            true => keys.filter(&buffer[..count], act),
            false => buffer[..count].to_vec(),
        };
        if !bytes.is_empty() && to.send(bytes).is_err() {
            return;
        }
    }
}

fn act(command: Command) {
    match command {
        Command::Stop => signals::ask_stop(),
        Command::Help => errors::say(format_args!("{HELP}")),
    }
}

/// What a key of our own asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Stop,
    Help,
}

/// Takes our own keys out of what is typed.
#[derive(Debug, Default)]
struct Keys {
    after_ctrl_a: bool,
}

impl Keys {
    fn filter(&mut self, typed: &[u8], mut act: impl FnMut(Command)) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &byte in typed {
            match (std::mem::take(&mut self.after_ctrl_a), byte) {
                (false, CTRL_A) => self.after_ctrl_a = true,
                (false, CTRL_C) | (true, b'x') => act(Command::Stop),
                (false, _) | (true, CTRL_A | CTRL_C) => bytes.push(byte),
                (true, _) => act(Command::Help),
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(typed: &[&[u8]]) -> (Vec<u8>, Vec<Command>) {
        let (mut keys, mut commands) = (Keys::default(), Vec::new());
        let bytes = typed.iter().flat_map(|part| keys.filter(part, |c| commands.push(c))).collect();
        (bytes, commands)
    }

    #[test]
    fn our_keys_do_not_reach_the_guest() {
        assert_eq!(filter(&[b"ab\rc"]), (b"ab\rc".to_vec(), vec![]));
        assert_eq!(filter(&[b"a\x01", b"xb"]), (b"ab".to_vec(), vec![Command::Stop]));
        assert_eq!(filter(&[b"\x03"]), (vec![], vec![Command::Stop]));
        assert_eq!(filter(&[b"\x01\x03\x01\x01x"]), (b"\x03\x01x".to_vec(), vec![]));
        assert_eq!(filter(&[b"\x01h\x01?"]), (vec![], vec![Command::Help, Command::Help]));
    }
}
