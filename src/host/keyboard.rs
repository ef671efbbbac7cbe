//! What is typed: at a terminal with a few keys of our own, or piped in.

use std::io::Read;
use std::sync::mpsc::{self, Receiver};

use emu::Control;
use ft_net::runtime::Attach;

use super::{errors, signals, terminal};

/// Introduces our own keys, as in other emulators.
const CTRL_A: u8 = 0x01;
const CTRL_C: u8 = 0x03;

const HELP: &str = "Ctrl-A x or Ctrl-C: stop this ftemu; Ctrl-A p: press the power button; Ctrl-A d: press Ctrl-Alt-Del; \
     Ctrl-A Ctrl-C, Ctrl-A Ctrl-A: send Ctrl-C, Ctrl-A to the guest";

/// What the operator gives the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Keys for the console.
    Bytes(Vec<u8>),
    /// A button.
    Control(Control),
}

impl Typed {
    /// Sends it to whoever serves a pair.
    pub(crate) fn send(self, to: &Attach) {
        match self {
            Self::Bytes(bytes) => to.input(&bytes),
            Self::Control(control) => to.control(control),
        }
    }
}

/// Starts reading stdin; a terminal becomes raw. The channel ends with the input; a guest does not.
pub(crate) fn start() -> Receiver<Typed> {
    let (to, typed) = mpsc::channel();
    start_into(move |typed| to.send(typed).is_ok());
    typed
}

/// The same; `take` gets what is typed until it returns `false`.
pub(crate) fn start_into(take: impl FnMut(Typed) -> bool + Send + 'static) {
    let raw = terminal::enter_raw();
    // Blocked in a read most of the time, it dies with the process.
    std::thread::spawn(move || read(raw, take));
}

fn read(raw: bool, mut take: impl FnMut(Typed) -> bool) {
    let (mut keys, mut buffer) = (Keys::default(), [0; 4096]);
    while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
        let bytes = match raw {
            true => keys.filter(&buffer[..count], |command| act(command, &mut take)),
            false => buffer[..count].to_vec(),
        };
        if !bytes.is_empty() && !take(Typed::Bytes(bytes)) {
            return;
        }
    }
}

fn act(command: Command, take: &mut dyn FnMut(Typed) -> bool) {
    match command {
        Command::Stop => signals::ask_stop(),
        Command::Help => errors::say(format_args!("{HELP}")),
        Command::Press(control) => {
            take(Typed::Control(control)); // Nobody listens: the end is near.
        }
    }
}

/// What a key of our own asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Stop,
    Help,
    Press(Control),
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
                (true, b'p') => act(Command::Press(Control::PowerButton)),
                (true, b'd') => act(Command::Press(Control::CtrlAltDel)),
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
        let buttons = [Control::PowerButton, Control::CtrlAltDel].map(Command::Press);
        assert_eq!(filter(&[b"p\x01p\x01dd"]), (b"pd".to_vec(), buttons.to_vec()));
        assert_eq!(filter(&[b"\x01h\x01?"]), (vec![], vec![Command::Help, Command::Help]));
    }
}
