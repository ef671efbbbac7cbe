//! MC146818 real-time clock and CMOS RAM (Motorola MC146818A data sheet), 128 bytes, century at 0x32 as on a PC.
//!
//! While the clock runs, the time registers are a function of guest time and of one offset; while it is stopped
//! (register B SET, or the divider held in reset) they are bytes.

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

const NS_PER_S: u64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;
const CRYSTAL_HZ: u64 = 32_768;

const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const REG_A: u8 = 0x0a;
const REG_B: u8 = 0x0b;
const REG_C: u8 = 0x0c;
const REG_D: u8 = 0x0d;
const CENTURY: u8 = 0x32;

const TIME_REGISTERS: [u8; 8] = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY];

const A_UPDATE_IN_PROGRESS: u8 = 0x80;
/// UIP rises this long before the registers change: 244 us of warning and 1984 us of update cycle.
const UPDATE_NS: u64 = 2_228_000;
/// The first update comes half a second after the divider is released.
const DIVIDER_RELEASE_NS: u64 = 500_000_000;

const B_SET: u8 = 0x80;
const B_UPDATE_INTERRUPT: u8 = 0x10;
const B_BINARY: u8 = 0x04;
const B_24_HOURS: u8 = 0x02;

// Flags of register C and, at the same bits, their enables in register B.
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATED: u8 = 0x10;
const C_INTERRUPT: u8 = 0x80;

const D_VALID_RAM: u8 = 0x80;

const HOUR_PM: u8 = 0x80;
/// An alarm register with both upper bits set matches everything.
const ALARM_ANY: u8 = 0xc0;

/// Seconds that no setting of the registers reaches.
const OFFSET_MAX: u64 = 1 << 41;

/// 9999-12-31 23:59:59, the last second that the registers can show.
const LAST_SECOND: i64 = 253_402_300_799;

/// The clock and its RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rtc {
    index: u8,
    /// Registers and RAM. The time registers are zero while the clock runs.
    cmos: [[u8; 32]; 4],
    /// Time of day minus the number of updates: seconds since 1970. Zero while the clock is stopped.
    offset_s: i64,
    /// Updates happen when guest time is this, modulo a second.
    phase_ns: u64,
    /// How far [`Rtc::advance`] has come.
    now_ns: u64,
}

impl Rtc {
    /// A clock that shows `epoch_s` seconds since 1970 (UTC) when the machine is created, in BCD and 24 hours, with the
    /// periodic rate at 1024 Hz and all interrupts off.
    pub fn new(epoch_s: u64) -> Self {
        let offset_s = i64::try_from(epoch_s).unwrap_or(LAST_SECOND).min(LAST_SECOND);
        let mut rtc = Rtc { index: 0, cmos: [[0; 32]; 4], offset_s, phase_ns: 0, now_ns: 0 };
        rtc.offset_s -= rtc.updates(0);
        *rtc.cell(REG_A) = 0x26;
        *rtc.cell(REG_B) = B_24_HOURS;
        rtc
    }

    /// Checks that a clock can be in this state.
    pub(crate) fn check(&self) -> Checked {
        let times = self.offset_s.unsigned_abs() <= OFFSET_MAX && self.phase_ns < NS_PER_S;
        ensure(times && self.index <= 0x7f, "RTC")
    }

    /// Reads port 0x70 (write-only: all ones) or 0x71 at guest time `now_ns`.
    pub fn read(&mut self, port: u16, now_ns: u64) -> u8 {
        self.advance(now_ns);
        if port != 0x71 {
            return 0xff;
        }
        match self.index {
            REG_A => self.get(REG_A) | if self.updating() { A_UPDATE_IN_PROGRESS } else { 0 },
            REG_C => {
                let interrupt = if self.irq() { C_INTERRUPT } else { 0 };
                std::mem::take(self.cell(REG_C)) | interrupt
            }
            REG_D => D_VALID_RAM,
            register if self.running() && TIME_REGISTERS.contains(&register) => self.encoded(self.second(), register),
            register => self.get(register),
        }
    }

    /// Writes port 0x70 (bits 6:0 select the register; bit 7, the NMI mask, is ignored) or 0x71 at guest time `now_ns`.
    pub fn write(&mut self, port: u16, value: u8, now_ns: u64) {
        self.advance(now_ns);
        match (port, self.index) {
            (0x70, _) => self.index = value & 0x7f,
            (0x71, REG_A) => self.write_a(value & !A_UPDATE_IN_PROGRESS),
            (0x71, REG_B) => self.write_b(value),
            (0x71, REG_C | REG_D) => {}
            (0x71, register) if self.running() && TIME_REGISTERS.contains(&register) => {
                self.stop();
                *self.cell(register) = value;
                self.start();
            }
            (0x71, register) => *self.cell(register) = value,
            _ => {}
        }
    }

    /// Lets the clock run up to guest time `now_ns`. A time in the past has no effect.
    pub fn advance(&mut self, now_ns: u64) {
        if now_ns <= self.now_ns {
            return;
        }
        let mut flags = 0;
        if let Some(rate) = self.periodic_ticks()
            && self.periods(now_ns, rate) > self.periods(self.now_ns, rate)
        {
            flags |= PERIODIC;
        }
        if self.running() && self.updates(now_ns) > self.updates(self.now_ns) {
            flags |= UPDATED;
            let last = self.offset_s + self.updates(now_ns);
            if self.next_alarm(self.second()).is_some_and(|second| second <= last) {
                flags |= ALARM;
            }
        }
        *self.cell(REG_C) |= flags;
        self.now_ns = now_ns;
    }

    /// Level of the line of IRQ 8.
    pub fn irq(&self) -> bool {
        self.get(REG_C) & self.get(REG_B) & (PERIODIC | ALARM | UPDATED) != 0
    }

    /// Guest time at which the line will rise, in nanoseconds; `None` when it is high or nothing will raise it.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.irq() {
            return None;
        }
        let enabled = self.get(REG_B);
        let second = self.second();
        let at_second = |later: i64| self.update_ns(later - self.offset_s);
        let update = (enabled & UPDATED != 0 && self.running()).then(|| at_second(second + 1));
        let alarm = (enabled & ALARM != 0 && self.running()).then(|| self.next_alarm(second).and_then(at_second));
        let periodic =
            self.periodic_ticks().filter(|_| enabled & PERIODIC != 0).map(|ticks| self.next_period_ns(ticks));
        [update, alarm, periodic].into_iter().flatten().flatten().min()
    }

    fn get(&self, register: u8) -> u8 {
        self.cmos[usize::from(register / 32 % 4)][usize::from(register % 32)]
    }

    fn cell(&mut self, register: u8) -> &mut u8 {
        &mut self.cmos[usize::from(register / 32 % 4)][usize::from(register % 32)]
    }

    fn divider_held(&self) -> bool {
        self.get(REG_A) & 0x60 == 0x60
    }

    fn running(&self) -> bool {
        self.get(REG_B) & B_SET == 0 && !self.divider_held()
    }

    fn write_a(&mut self, value: u8) {
        let (was_running, was_held) = (self.running(), self.divider_held());
        if was_running && value & 0x60 == 0x60 {
            self.stop();
        }
        *self.cell(REG_A) = value;
        if was_held && !self.divider_held() {
            self.phase_ns = (self.now_ns % NS_PER_S + DIVIDER_RELEASE_NS) % NS_PER_S;
        }
        if !was_running && self.running() {
            self.start();
        }
    }

    fn write_b(&mut self, value: u8) {
        let was_running = self.running();
        if was_running && value & B_SET != 0 {
            self.stop();
        }
        // Setting SET turns the update interrupt off.
        *self.cell(REG_B) = if value & B_SET != 0 { value & !B_UPDATE_INTERRUPT } else { value };
        if !was_running && self.running() {
            self.start();
        }
    }

    /// The time becomes bytes, in the present format.
    fn stop(&mut self) {
        let second = self.second();
        for register in TIME_REGISTERS {
            *self.cell(register) = self.encoded(second, register);
        }
        self.offset_s = 0;
    }

    /// The bytes become the time. A date that does not exist counts on from the first of its month.
    fn start(&mut self) {
        let field = |register| i64::from(self.decoded(self.get(register)));
        let year = field(CENTURY) * 100 + field(YEAR);
        let days = days_from_civil(year, field(MONTH).clamp(1, 12), field(DAY).max(1));
        let second = days * S_PER_DAY + self.decoded_hour() * 3600 + field(MINUTES) * 60 + field(SECONDS);
        self.offset_s = second - self.updates(self.now_ns);
        for register in TIME_REGISTERS {
            *self.cell(register) = 0;
        }
    }

    /// Time of day in seconds since 1970, while the clock runs.
    fn second(&self) -> i64 {
        self.offset_s + self.updates(self.now_ns)
    }

    /// How many updates there have been at `ns`, of a clock that never stopped. The first one is at `phase_ns`.
    fn updates(&self, ns: u64) -> i64 {
        (ns / NS_PER_S + u64::from(ns % NS_PER_S >= self.phase_ns)) as i64
    }

    /// When update number `count` happens.
    fn update_ns(&self, count: i64) -> Option<u64> {
        u64::try_from(count - 1).ok()?.checked_mul(NS_PER_S)?.checked_add(self.phase_ns)
    }

    fn updating(&self) -> bool {
        self.running() && self.since_update_ns(self.now_ns) >= NS_PER_S - UPDATE_NS
    }

    /// How long ago the last update was at `ns`, of a clock that never stopped.
    fn since_update_ns(&self, ns: u64) -> u64 {
        (ns % NS_PER_S + NS_PER_S - self.phase_ns) % NS_PER_S
    }

    /// Period of the periodic interrupt in crystal ticks (register A, RS), if there is one.
    fn periodic_ticks(&self) -> Option<u64> {
        match self.get(REG_A) & 0x0f {
            _ if self.divider_held() => None,
            0 => None,
            rate @ (1 | 2) => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    /// How many periods of `ticks` have ended at `ns`, counted so that every update ends one.
    fn periods(&self, ns: u64, ticks: u64) -> u64 {
        self.updates(ns) as u64 * (CRYSTAL_HZ / ticks) + self.since_update_ns(ns) * CRYSTAL_HZ / ticks / NS_PER_S
    }

    /// When the next period of `ticks` ends.
    fn next_period_ns(&self, ticks: u64) -> Option<u64> {
        let since_ns = self.since_update_ns(self.now_ns);
        let ended = since_ns * CRYSTAL_HZ / ticks / NS_PER_S;
        let next_ns = ((ended + 1) * ticks * NS_PER_S).div_ceil(CRYSTAL_HZ);
        self.now_ns.checked_add(next_ns - since_ns)
    }

    /// The first second after `second` that matches the alarm registers; they repeat daily.
    fn next_alarm(&self, second: i64) -> Option<i64> {
        let matches = |second, alarm, register| {
            let wanted = self.get(alarm);
            wanted & ALARM_ANY == ALARM_ANY || wanted == self.encoded(second, register)
        };
        let mut candidate = second + 1;
        while candidate <= second + S_PER_DAY {
            if !matches(candidate, HOURS_ALARM, HOURS) {
                candidate += 3600 - candidate.rem_euclid(3600);
            } else if !matches(candidate, MINUTES_ALARM, MINUTES) {
                candidate += 60 - candidate.rem_euclid(60);
            } else if !matches(candidate, SECONDS_ALARM, SECONDS) {
                candidate += 1;
            } else {
                return Some(candidate);
            }
        }
        None
    }

    /// What a time register shows at `second`.
    fn encoded(&self, second: i64, register: u8) -> u8 {
        let (days, of_day) = (second.div_euclid(S_PER_DAY), second.rem_euclid(S_PER_DAY));
        let date = || civil_from_days(days);
        let value = match register {
            SECONDS => of_day % 60,
            MINUTES => of_day / 60 % 60,
            HOURS => return self.encoded_hour(of_day / 3600),
            WEEKDAY => (days + 4).rem_euclid(7) + 1, // 1970-01-01 was a Thursday; Sunday is 1
            DAY => date().2,
            MONTH => date().1,
            YEAR => date().0.rem_euclid(100),
            _ => date().0.div_euclid(100).rem_euclid(100),
        };
        self.encode(value)
    }

    fn encoded_hour(&self, hour: i64) -> u8 {
        if self.get(REG_B) & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        let of_half = if hour % 12 == 0 { 12 } else { hour % 12 };
        self.encode(of_half) | if hour >= 12 { HOUR_PM } else { 0 }
    }

    fn decoded_hour(&self) -> i64 {
        let raw = self.get(HOURS);
        if self.get(REG_B) & B_24_HOURS != 0 {
            return i64::from(self.decoded(raw));
        }
        let of_half = i64::from(self.decoded(raw & !HOUR_PM)) % 12;
        if raw & HOUR_PM != 0 { of_half + 12 } else { of_half }
    }

    /// Two decimal digits, BCD or binary.
    #[expect(clippy::cast_possible_truncation, reason = "two digits")]
    fn encode(&self, value: i64) -> u8 {
        let value = value.rem_euclid(100) as u8;
        if self.get(REG_B) & B_BINARY != 0 { value } else { (value / 10) << 4 | (value % 10) }
    }

    fn decoded(&self, raw: u8) -> u8 {
        if self.get(REG_B) & B_BINARY != 0 { raw } else { (raw >> 4) * 10 + (raw & 15) }
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar; `month` is 1..=12, `day` may be past its end.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March put the leap day last; 400 of them always have 146,097 days.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01: the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = NS_PER_S;
    /// 2026-02-28 23:59:58, a Saturday.
    const FEBRUARY: u64 = 1_772_323_198;

    fn get(rtc: &mut Rtc, register: u8, now_ns: u64) -> u8 {
        rtc.write(0x70, register, now_ns);
        rtc.read(0x71, now_ns)
    }

    fn set(rtc: &mut Rtc, register: u8, value: u8, now_ns: u64) {
        rtc.write(0x70, register, now_ns);
        rtc.write(0x71, value, now_ns);
    }

    /// Century, year, month, day, hours, minutes, seconds, day of the week.
    fn time(rtc: &mut Rtc, now_ns: u64) -> [u8; 8] {
        [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS, WEEKDAY].map(|register| get(rtc, register, now_ns))
    }

    #[test]
    fn civil_dates_invert() {
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(days_from_civil(2000, 2, 29), 11_016);
        for days in (-720_000..2_933_000).step_by(13) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=31).contains(&day));
        }
    }

    #[test]
    fn the_month_turns_in_bcd() {
        let mut rtc = Rtc::new(FEBRUARY);
        assert_eq!(time(&mut rtc, S - 1), [0x20, 0x26, 0x02, 0x28, 0x23, 0x59, 0x58, 7]);
        assert_eq!(time(&mut rtc, S), [0x20, 0x26, 0x02, 0x28, 0x23, 0x59, 0x59, 7]);
        assert_eq!(time(&mut rtc, 2 * S), [0x20, 0x26, 0x03, 0x01, 0x00, 0x00, 0x00, 1]);
    }

    #[test]
    fn binary_and_twelve_hours() {
        let mut rtc = Rtc::new(FEBRUARY);
        set(&mut rtc, REG_B, B_BINARY, 0);
        assert_eq!(time(&mut rtc, 0), [20, 26, 2, 28, 11 | HOUR_PM, 59, 58, 7]);
        assert_eq!(get(&mut rtc, HOURS, 2 * S), 12, "midnight is 12 am");
        assert_eq!(get(&mut rtc, HOURS, (2 + 12 * 3600) * S), 12 | HOUR_PM);
        set(&mut rtc, HOURS, 12, (2 + 12 * 3600) * S);
        set(&mut rtc, REG_B, B_24_HOURS | B_BINARY, (2 + 12 * 3600) * S);
        assert_eq!(get(&mut rtc, HOURS, (2 + 12 * 3600) * S), 0);
    }

    /// Linux `mc146818_set_time`: SET, divider reset, registers, then both back.
    #[test]
    fn linux_sets_the_time() {
        let mut rtc = Rtc::new(FEBRUARY);
        let now = 100 * S + 300_000_000;
        set(&mut rtc, REG_B, B_SET | B_24_HOURS, now);
        set(&mut rtc, REG_A, 0x76, now);
        for (register, value) in [(YEAR, 0x99), (CENTURY, 0x19), (MONTH, 0x12), (DAY, 0x31), (HOURS, 0x23)] {
            set(&mut rtc, register, value, now);
        }
        set(&mut rtc, MINUTES, 0x59, now);
        set(&mut rtc, SECONDS, 0x59, now);
        let later = now + 10 * S;
        assert_eq!(get(&mut rtc, SECONDS, later), 0x59, "SET stops the clock");
        set(&mut rtc, REG_B, B_24_HOURS, later);
        set(&mut rtc, REG_A, 0x26, later);
        assert_eq!(get(&mut rtc, SECONDS, later + S / 2 - 1), 0x59);
        assert_eq!(time(&mut rtc, later + S / 2), [0x20, 0, 1, 1, 0, 0, 0, 7], "half a second after the divider");
        assert_eq!(get(&mut rtc, SECONDS, later + S / 2 + 3 * S), 3);
    }

    #[test]
    fn set_alone_keeps_the_phase_of_the_seconds() {
        let mut rtc = Rtc::new(FEBRUARY);
        set(&mut rtc, REG_B, B_SET | B_24_HOURS, S / 4);
        set(&mut rtc, SECONDS, 0x10, S / 4);
        set(&mut rtc, REG_B, B_24_HOURS, 5 * S + S / 2);
        assert_eq!(get(&mut rtc, SECONDS, 6 * S - 1), 0x10);
        assert_eq!(get(&mut rtc, SECONDS, 6 * S), 0x11);
    }

    #[test]
    fn update_in_progress_ends_when_the_seconds_change() {
        let mut rtc = Rtc::new(FEBRUARY);
        for (now, uip) in [(0, 0), (S - UPDATE_NS - 1, 0), (S - UPDATE_NS, 0x80), (S - 1, 0x80), (S, 0)] {
            assert_eq!(get(&mut rtc, REG_A, now), 0x26 | uip);
        }
    }

    #[test]
    fn update_interrupt_every_second_until_c_is_read() {
        let mut rtc = Rtc::new(FEBRUARY);
        set(&mut rtc, REG_B, B_24_HOURS | B_UPDATE_INTERRUPT, S / 3);
        assert_eq!(rtc.next_deadline(), Some(S));
        rtc.advance(S - 1);
        assert!(!rtc.irq());
        rtc.advance(S);
        assert!(rtc.irq());
        assert_eq!(rtc.next_deadline(), None);
        assert_eq!(get(&mut rtc, REG_C, S) & !PERIODIC, C_INTERRUPT | UPDATED);
        assert!(!rtc.irq());
        assert_eq!(get(&mut rtc, REG_C, S), 0);
        assert_eq!(rtc.next_deadline(), Some(2 * S));
        set(&mut rtc, REG_B, B_SET | B_24_HOURS | B_UPDATE_INTERRUPT, S);
        assert_eq!(get(&mut rtc, REG_B, S), B_SET | B_24_HOURS);
    }

    #[test]
    fn periodic_interrupt_keeps_its_rate() {
        for (rate, hz) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
            let mut rtc = Rtc::new(0);
            set(&mut rtc, REG_A, 0x20 | rate, 0);
            set(&mut rtc, REG_B, B_24_HOURS | PERIODIC, 0);
            for period in 1..=2 * hz {
                let deadline = rtc.next_deadline().unwrap();
                assert_eq!(deadline, (period * S).div_ceil(hz));
                rtc.advance(deadline - 1);
                assert!(!rtc.irq());
                assert_eq!(get(&mut rtc, REG_C, deadline) & (C_INTERRUPT | PERIODIC), C_INTERRUPT | PERIODIC);
            }
        }
        let mut off = Rtc::new(0);
        set(&mut off, REG_A, 0x20, 0);
        set(&mut off, REG_B, PERIODIC, 0);
        assert_eq!(off.next_deadline(), None);
    }

    #[test]
    fn alarm_at_a_time_of_day() {
        let mut rtc = Rtc::new(FEBRUARY);
        for (register, value) in [(HOURS_ALARM, 0x08), (MINUTES_ALARM, 0x30), (SECONDS_ALARM, 0x15)] {
            set(&mut rtc, register, value, 0);
        }
        set(&mut rtc, REG_B, B_24_HOURS | ALARM, 0);
        let first = (2 + 8 * 3600 + 30 * 60 + 15) * S;
        assert_eq!(rtc.next_deadline(), Some(first));
        rtc.advance(first - 1);
        assert!(!rtc.irq());
        rtc.advance(first + 5 * S);
        assert!(rtc.irq());
        get(&mut rtc, REG_C, first + 5 * S);
        assert_eq!(rtc.next_deadline(), Some(first + 86_400 * S));
        set(&mut rtc, HOURS_ALARM, 0xff, first + 5 * S);
        assert_eq!(rtc.next_deadline(), Some(first + 3600 * S), "any hour");
        set(&mut rtc, MINUTES_ALARM, 0x75, first + 5 * S);
        assert_eq!(rtc.next_deadline(), None, "no such minute");
    }

    #[test]
    fn ram_is_ram_and_d_says_the_battery_is_good() {
        let mut rtc = Rtc::new(FEBRUARY);
        for register in (0x0e..128).filter(|register| *register != CENTURY) {
            set(&mut rtc, register, register ^ 0x5a, 0);
        }
        for register in (0x0e..128).filter(|register| *register != CENTURY) {
            assert_eq!(get(&mut rtc, register, S), register ^ 0x5a);
        }
        set(&mut rtc, REG_D | 0x80, 0, S);
        assert_eq!(get(&mut rtc, REG_D | 0x80, S), 0x80, "bit 7 of the index is the NMI mask");
        assert_eq!(rtc.read(0x70, S), 0xff);
    }

    #[test]
    fn any_writes_at_any_time_are_survived() {
        let mut rtc = Rtc::new(u64::MAX);
        let mut seed = 1u64;
        for step in 0..200_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [register, value, c, ..] = (seed >> 24).to_le_bytes();
            let now_ns = if step < 199_000 { step * u64::from(c) * 90_000 } else { u64::MAX - 200_000 + step };
            let register = register % 14;
            set(&mut rtc, register, value, now_ns);
            get(&mut rtc, register, now_ns);
            let Some(deadline) = rtc.next_deadline() else {
                continue;
            };
            let mut later = rtc.clone();
            assert!(deadline > later.now_ns);
            later.advance(deadline - 1);
            assert!(!later.irq());
            later.advance(deadline);
            assert!(later.irq());
        }
    }
}
