//! ACPI fixed hardware (ACPI 6.4, 4.8.3): the PM1 event and control block, with a power button and the S5 sleep state, and the
//! power management timer.

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

/// Where its registers begin, as the FADT says.
pub const PORT: u16 = 0x600;
/// Offset of the PM1a event block: status, enable.
pub const EVENT: u16 = 0;
/// Offset of the PM1a control block.
pub const CONTROL: u16 = 4;
/// Offset of the timer.
pub const TIMER: u16 = 8;
/// Ports.
pub const PORTS: u16 = 12;
/// Frequency of the timer.
const HZ: u64 = 3_579_545;

/// What `\_S5` names: SLP_TYP of "soft off".
pub const SLEEP_OFF: u8 = 5;

const POWER_BUTTON: u16 = 1 << 8;
/// Events that can be enabled: timer overflow, global lock, power button, RTC. Only the button happens.
const EVENTS: u16 = 1 | 1 << 5 | POWER_BUTTON | 1 << 10;
/// SCI_EN, which is always one: there is no legacy mode to leave.
const SCI_ENABLED: u16 = 1;
/// SLP_TYP in the control register's high byte, and SLP_EN.
const SLEEP_TYPE: u16 = 7 << 10;
const SLEEP_ENABLE: u16 = 1 << 13;

/// The fixed hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pm {
    status: u16,
    enable: u16,
    control: u16,
}

impl Pm {
    /// No event has happened, none is enabled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks that it can be in this state.
    pub(crate) fn check(&self) -> Checked {
        let events = self.status & !POWER_BUTTON | self.enable & !EVENTS;
        ensure(events | self.control & !SLEEP_TYPE == 0, "ACPI registers")
    }

    /// Whether a read looks at the time.
    pub(crate) fn is_timed(offset: u16) -> bool {
        (TIMER..PORTS).contains(&offset)
    }

    /// Reads a byte at guest time `now_ns`; all ones where there is nothing.
    pub fn read(&self, offset: u16, now_ns: u64) -> u8 {
        let register = match offset & !1 {
            EVENT => self.status,
            2 => self.enable,
            CONTROL => self.control | SCI_ENABLED,
            TIMER.. if offset < PORTS => {
                let ticks = u128::from(now_ns) * u128::from(HZ) / 1_000_000_000;
                return (ticks >> (8 * (offset - TIMER))) as u8;
            }
            _ => u16::MAX,
        };
        register.to_le_bytes()[usize::from(offset & 1)]
    }

    /// Writes a byte; whether that switches the machine off.
    pub fn write(&mut self, offset: u16, value: u8) -> bool {
        let shift = 8 * (offset & 1);
        let (value, mask) = (u16::from(value) << shift, 0xff << shift);
        match offset & !1 {
            // Ones clear.
            EVENT => self.status &= !value,
            2 => self.enable = self.enable & !mask | value & EVENTS,
            CONTROL => {
                self.control = self.control & !mask | value & SLEEP_TYPE;
                return value & SLEEP_ENABLE != 0 && self.control == u16::from(SLEEP_OFF) << 10;
            }
            _ => {}
        }
        false
    }

    /// The power button is pressed.
    pub fn press_power_button(&mut self) {
        self.status |= POWER_BUTTON;
    }

    /// Level of the system control interrupt.
    pub fn sci(&self) -> bool {
        self.status & self.enable != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(pm: &Pm, offset: u16) -> u16 {
        u16::from_le_bytes([pm.read(offset, 0), pm.read(offset + 1, 0)])
    }

    fn write(pm: &mut Pm, offset: u16, value: u16) -> bool {
        let [low, high] = value.to_le_bytes();
        pm.write(offset, low) | pm.write(offset + 1, high)
    }

    #[test]
    fn the_button_interrupts_once_enabled_until_cleared() {
        let mut pm = Pm::new();
        pm.press_power_button();
        assert_eq!((word(&pm, EVENT), pm.sci()), (POWER_BUTTON, false));
        write(&mut pm, 2, u16::MAX);
        assert_eq!((word(&pm, 2), pm.sci()), (EVENTS, true));
        write(&mut pm, EVENT, !POWER_BUTTON);
        assert!(pm.sci());
        write(&mut pm, EVENT, POWER_BUTTON);
        assert_eq!((word(&pm, EVENT), pm.sci()), (0, false));
        assert!(pm.check().is_ok());
    }

    #[test]
    fn only_s5_switches_off() {
        let mut pm = Pm::new();
        assert_eq!(word(&pm, CONTROL), SCI_ENABLED);
        assert!(!write(&mut pm, CONTROL, 5 << 10), "SLP_EN is missing");
        assert!(!write(&mut pm, CONTROL, 1 << 10 | SLEEP_ENABLE));
        assert_eq!(word(&pm, CONTROL), 1 << 10 | SCI_ENABLED, "SLP_EN reads as 0");
        assert!(write(&mut pm, CONTROL, 5 << 10 | SLEEP_ENABLE));
    }

    #[test]
    fn the_timer_counts_guest_time() {
        let pm = Pm::new();
        let timer = |ns| u32::from_le_bytes(std::array::from_fn(|i| pm.read(TIMER + i as u16, ns)));
        assert_eq!((timer(0), timer(279), timer(280)), (0, 0, 1));
        assert_eq!(timer(1_000_000_000), HZ as u32);
        assert_eq!(timer(3_600_000_000_000), (HZ * 3600) as u32, "it has 32 bits");
        assert_eq!((pm.read(12, 0), pm.read(6, 0)), (0xff, 0xff));
    }
}
