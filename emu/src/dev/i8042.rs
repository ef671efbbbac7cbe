//! The 8042 keyboard controller of a PC with a keyboard (IBM PS/2 hardware interface technical reference): what the reset
//! line, the probes of drivers and Ctrl-Alt-Del need. There is no mouse and no A20 gate.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

// Status.
const OUTPUT_FULL: u8 = 1;
const SYSTEM: u8 = 1 << 2;
const COMMAND: u8 = 1 << 3;
const UNLOCKED: u8 = 1 << 4;

// Command byte.
const INTERRUPT: u8 = 1;
const SYSTEM_FLAG: u8 = 1 << 2;
const DISABLED: u8 = 1 << 4;
const MOUSE_DISABLED: u8 = 1 << 5;
const TRANSLATE: u8 = 1 << 6;

/// The output port: not in reset, A20 on.
const OUTPUT_PORT: u8 = 0xcf;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
/// What the keyboard has to say, at most.
const QUEUE_MAX: usize = 32;

/// Control, Alt and Delete down and up again, in scan code set 2 and as the controller translates it.
const CTRL_ALT_DEL: [u8; 11] = [0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14];
const CTRL_ALT_DEL_TRANSLATED: [u8; 8] = [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d];

/// What the next byte for port 0x60 is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Expect {
    /// A command of the keyboard.
    Keyboard,
    /// The parameter of one, of no effect here.
    KeyboardParameter,
    /// The number of a scan code set, or 0, which asks for it.
    ScanCodeSet,
    /// The command byte.
    CommandByte,
    /// The output port.
    OutputPort,
    /// What is to look as if the keyboard had sent it.
    Loop,
    /// A device that is not there.
    Nobody,
}

/// The controller and its keyboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct I8042 {
    command_byte: u8,
    expect: Expect,
    /// The last write was a command.
    commanded: bool,
    /// An answer of the controller itself, ahead of what the keyboard sends.
    answer: Option<u8>,
    queue: VecDeque<u8>,
    scanning: bool,
    /// The line fell since the last look.
    fell: bool,
}

impl Default for I8042 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8042 {
    /// As firmware leaves it: keyboard on, translated, no interrupts.
    pub fn new() -> Self {
        Self {
            command_byte: SYSTEM_FLAG | MOUSE_DISABLED | TRANSLATE,
            expect: Expect::Keyboard,
            commanded: false,
            answer: None,
            queue: VecDeque::new(),
            scanning: true,
            fell: false,
        }
    }

    /// Checks that it can be in this state.
    pub(crate) fn check(&self) -> Checked {
        ensure(self.queue.len() <= QUEUE_MAX, "keyboard controller")
    }

    fn has_output(&self) -> bool {
        self.answer.is_some() || !self.queue.is_empty() && self.command_byte & DISABLED == 0
    }

    /// Level of IRQ 1.
    pub fn irq(&self) -> bool {
        self.has_output() && self.command_byte & INTERRUPT != 0
    }

    /// Whether the line fell since the last call: each byte is an edge of its own.
    pub fn take_fall(&mut self) -> bool {
        std::mem::take(&mut self.fell)
    }

    /// Reads port 0x60.
    pub fn read_data(&mut self) -> u8 {
        if !self.has_output() {
            return 0;
        }
        self.fell = true;
        self.answer.take().or_else(|| self.queue.pop_front()).unwrap_or(0)
    }

    /// Reads port 0x64.
    pub fn read_status(&self) -> u8 {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        flag(self.has_output(), OUTPUT_FULL)
            | flag(self.command_byte & SYSTEM_FLAG != 0, SYSTEM)
            | flag(self.commanded, COMMAND)
            | UNLOCKED
    }

    /// Writes port 0x64, a command; whether that resets the machine.
    pub fn write_command(&mut self, value: u8) -> bool {
        self.commanded = true;
        self.expect = Expect::Keyboard;
        match value {
            0x20 => self.answer = Some(self.command_byte),
            0x60 => self.expect = Expect::CommandByte,
            0xa7 => self.command_byte |= MOUSE_DISABLED,
            0xa8 => self.command_byte &= !MOUSE_DISABLED,
            // Test of the mouse interface: its clock is stuck.
            0xa9 => self.answer = Some(1),
            0xaa => {
                self.command_byte |= SYSTEM_FLAG;
                self.answer = Some(0x55);
            }
            0xab => self.answer = Some(0),
            0xad => self.command_byte |= DISABLED,
            0xae => self.command_byte &= !DISABLED,
            0xd0 => self.answer = Some(OUTPUT_PORT),
            0xd1 => self.expect = Expect::OutputPort,
            0xd2 => self.expect = Expect::Loop,
            0xd3 | 0xd4 => self.expect = Expect::Nobody,
            // Pulses the lines of the output port whose bits are 0; the lowest is the reset.
            0xf0..=0xff => return value & 1 == 0,
            _ => {}
        }
        false
    }

    /// Writes port 0x60; whether that resets the machine.
    pub fn write_data(&mut self, value: u8) -> bool {
        self.commanded = false;
        match std::mem::replace(&mut self.expect, Expect::Keyboard) {
            Expect::Keyboard => self.keyboard(value),
            Expect::KeyboardParameter => self.send(&[ACK]),
            Expect::ScanCodeSet if value == 0 => self.send(&[ACK, if self.is_translated() { 0x41 } else { 2 }]),
            Expect::ScanCodeSet => self.send(&[ACK]),
            Expect::CommandByte => self.command_byte = value,
            Expect::OutputPort => return value & 1 == 0,
            Expect::Loop => self.answer = Some(value),
            Expect::Nobody => {}
        }
        false
    }

    fn is_translated(&self) -> bool {
        self.command_byte & TRANSLATE != 0
    }

    /// A command of the keyboard.
    fn keyboard(&mut self, command: u8) {
        // Whatever it was about to say.
        self.queue.clear();
        match command {
            0xed | 0xf3 => {
                self.expect = Expect::KeyboardParameter;
                self.send(&[ACK]);
            }
            0xee => self.send(&[0xee]),
            0xf0 => {
                self.expect = Expect::ScanCodeSet;
                self.send(&[ACK]);
            }
            0xf2 => self.send(&[ACK, 0xab, if self.is_translated() { 0x41 } else { 0x83 }]),
            0xf4 | 0xf6 => {
                self.scanning = true;
                self.send(&[ACK]);
            }
            0xf5 => {
                self.scanning = false;
                self.send(&[ACK]);
            }
            0xff => {
                self.scanning = true;
                self.send(&[ACK, 0xaa]);
            }
            _ => self.send(&[RESEND]),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.queue.len() + bytes.len() <= QUEUE_MAX {
            self.queue.extend(bytes);
        }
    }

    /// Somebody presses and releases Ctrl-Alt-Del.
    pub fn press_ctrl_alt_del(&mut self) {
        match (self.scanning, self.is_translated()) {
            (false, _) => {}
            (true, true) => self.send(&CTRL_ALT_DEL_TRANSLATED),
            (true, false) => self.send(&CTRL_ALT_DEL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(i8042: &mut I8042) -> Vec<u8> {
        std::iter::from_fn(|| (i8042.read_status() & OUTPUT_FULL != 0).then(|| i8042.read_data())).collect()
    }

    fn command(i8042: &mut I8042, command: u8) -> Vec<u8> {
        assert!(!i8042.write_command(command));
        all(i8042)
    }

    fn keyboard(i8042: &mut I8042, byte: u8) -> Vec<u8> {
        assert!(!i8042.write_data(byte));
        all(i8042)
    }

    #[test]
    fn the_controller_answers_a_driver() {
        let mut i8042 = I8042::new();
        assert_eq!(command(&mut i8042, 0xaa), [0x55]);
        assert_eq!(command(&mut i8042, 0xab), [0]);
        assert_eq!(command(&mut i8042, 0xa9), [1], "no mouse");
        assert_eq!(command(&mut i8042, 0x20), [0x64]);
        assert_eq!(command(&mut i8042, 0x60), []);
        assert_eq!(i8042.read_status() & COMMAND, COMMAND);
        assert_eq!(keyboard(&mut i8042, 0x47), []);
        assert_eq!(command(&mut i8042, 0x20), [0x47]);
        assert_eq!(command(&mut i8042, 0xd4), []);
        assert_eq!(keyboard(&mut i8042, 0xf2), [], "nobody is there to answer");
        assert_eq!(command(&mut i8042, 0xd2), []);
        assert_eq!(keyboard(&mut i8042, 0x5a), [0x5a]);
    }

    #[test]
    fn the_keyboard_answers_a_driver() {
        let mut i8042 = I8042::new();
        for (byte, answer) in [
            (0xff, &[0xfa, 0xaa][..]),
            (0xf2, &[0xfa, 0xab, 0x41]),
            (0xed, &[0xfa]),
            (0x07, &[0xfa]),
            (0xf0, &[0xfa]),
            (0x00, &[0xfa, 0x41]),
            (0xee, &[0xee]),
            (0xf4, &[0xfa]),
            (0x00, &[0xfe]),
        ] {
            assert_eq!(keyboard(&mut i8042, byte), answer, "{byte:x}");
        }
        command(&mut i8042, 0x60);
        i8042.write_data(INTERRUPT);
        assert_eq!(keyboard(&mut i8042, 0xf2), [0xfa, 0xab, 0x83], "not translated");
    }

    #[test]
    fn each_byte_is_an_edge() {
        let mut i8042 = I8042::new();
        command(&mut i8042, 0x60);
        i8042.write_data(INTERRUPT | DISABLED | TRANSLATE);
        i8042.press_ctrl_alt_del();
        assert!(!i8042.irq(), "the keyboard is switched off");
        i8042.write_command(0xae);
        let mut keys = vec![];
        while i8042.irq() {
            keys.push(i8042.read_data());
            assert!(i8042.take_fall() && !i8042.take_fall());
        }
        assert_eq!(keys, CTRL_ALT_DEL_TRANSLATED);
        assert_eq!(i8042.read_data(), 0);
        assert!(!i8042.take_fall());
        for _ in 0..100 {
            i8042.press_ctrl_alt_del();
        }
        assert!(i8042.check().is_ok());
    }

    #[test]
    fn two_ways_to_the_reset_line() {
        let mut i8042 = I8042::new();
        assert!(i8042.write_command(0xfe) && !i8042.write_command(0xff));
        i8042.write_command(0xd1);
        assert!(!i8042.write_data(0xcf));
        i8042.write_command(0xd1);
        assert!(i8042.write_data(0xce));
    }
}
