//! 8254 programmable interval timer (Intel 8254 data sheet, order 231164) and system control port B (0x61) of a PC.
//!
//! A counter is never stepped: its value and its output are functions of the tick at which its count was loaded.
//! Ticks are counted from the creation of the machine in integers, so that nothing drifts.

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

/// Frequency of the clock input of the counters.
pub const HZ: u64 = 1_193_182;

const NS_PER_S: u64 = 1_000_000_000;

/// The refresh bit of port 0x61 toggles every 18 ticks (15.09 us), as counter 1 makes it do on a PC.
const REFRESH_TICKS: i64 = 18;

/// A counter has 16 bits.
const COUNT_MAX: i64 = 65536;
/// The last tick that guest time can reach.
const TICK_MAX: i64 = ((u64::MAX / NS_PER_S + 1) * HZ) as i64;

/// Ticks that have begun at `ns`. At most 2.3e16.
fn tick_at(ns: u64) -> i64 {
    ((ns / NS_PER_S) * HZ + (ns % NS_PER_S) * HZ / NS_PER_S) as i64
}

/// The first nanosecond of `tick`: the least `ns` with `tick_at(ns) == tick`. `None` beyond the end of time.
fn first_ns_of(tick: i64) -> Option<u64> {
    let tick = u64::try_from(tick).ok()?;
    (tick / HZ).checked_mul(NS_PER_S)?.checked_add((tick % HZ * NS_PER_S).div_ceil(HZ))
}

/// The counting of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Run {
    /// No count is loaded: it is not complete, or it waits for the gate.
    Idle,
    /// The gate has stopped it so many ticks after the load.
    Held { ticks: i64 },
    /// Loaded at this tick.
    Since { tick: i64 },
}

/// One of the three counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    mode: u8,
    bcd: bool,
    /// 1 low byte, 2 high byte, 3 low byte then high byte.
    access: u8,
    gate: bool,
    /// What the guest wrote last (the count register), 1..=65536; 0: nothing since the control word.
    reload: u32,
    /// What the present run started from.
    count: u32,
    run: Run,
    /// Modes 2 and 3: the tick at which `reload` replaces `count`.
    switch_tick: Option<i64>,
    written_low: Option<u8>,
    read_high_next: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Counter {
    fn new() -> Self {
        Counter {
            mode: 3,
            bcd: false,
            access: 3,
            gate: true,
            reload: 0,
            count: 65536,
            run: Run::Idle,
            switch_tick: None,
            written_low: None,
            read_high_next: false,
            latched_count: None,
            latched_status: None,
        }
    }

    /// Checks that a counter can be in this state, whose timer has come to `now`.
    fn check(&self, now: i64) -> Checked {
        let ticks = -COUNT_MAX..=now.saturating_add(COUNT_MAX);
        let run = match self.run {
            Run::Idle => true,
            Run::Held { ticks } => (0..=now.saturating_add(COUNT_MAX)).contains(&ticks),
            Run::Since { tick } => ticks.contains(&tick),
        };
        let switch = self.switch_tick.is_none_or(|tick| ticks.contains(&tick));
        let counts = self.reload <= 65536 && (1..=65536).contains(&self.count);
        ensure(run && switch && counts && self.mode <= 5 && (1..=3).contains(&self.access), "PIT")
    }

    /// Control word: mode, BCD and access; everything else starts afresh.
    fn program(&mut self, control: u8) {
        let mode = control >> 1 & 7;
        *self = Counter {
            mode: if mode > 5 { mode - 4 } else { mode },
            bcd: control & 1 != 0,
            access: control >> 4 & 3,
            gate: self.gate,
            ..Counter::new()
        };
    }

    fn periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    /// Modes 1 and 5 are started by the gate, not by the count.
    fn gate_starts(&self) -> bool {
        matches!(self.mode, 1 | 5)
    }

    fn write(&mut self, value: u8, tick: i64) {
        let raw = match (self.access, self.written_low.take()) {
            (1, _) => u16::from(value),
            (2, _) => u16::from(value) << 8,
            (_, Some(low)) => u16::from_le_bytes([low, value]),
            (_, None) => {
                self.written_low = Some(value);
                if self.mode == 0 {
                    self.run = Run::Idle; // the first of two bytes stops the counting
                }
                return;
            }
        };
        self.reload = decode_count(raw, self.bcd);
        if self.periodic() {
            self.reload = self.reload.max(2);
        }
        self.load(tick);
    }

    /// A new count has been written. The clock pulse after that loads it.
    fn load(&mut self, tick: i64) {
        match self.run {
            _ if self.gate_starts() => {}
            Run::Since { tick: start } if self.periodic() && start <= tick => {
                self.switch_tick = Some(tick + self.ticks_to_boundary(tick - start));
            }
            _ if self.gate => self.start(tick),
            _ if self.periodic() => self.run = Run::Idle,
            _ => {
                self.count = self.reload;
                self.run = Run::Held { ticks: 0 };
            }
        }
    }

    fn start(&mut self, tick: i64) {
        self.count = self.reload;
        self.run = Run::Since { tick: tick + 1 };
        self.switch_tick = None;
    }

    /// A periodic counter reloads at the end of its period (mode 2) or half-period (mode 3).
    fn ticks_to_boundary(&self, elapsed: i64) -> i64 {
        let phase = elapsed.rem_euclid(self.period());
        let high = self.high_ticks();
        if self.mode == 3 && phase < high { high - phase } else { self.period() - phase }
    }

    fn period(&self) -> i64 {
        i64::from(self.count.max(1))
    }

    /// Mode 3 is high for the longer half of an odd period.
    fn high_ticks(&self) -> i64 {
        (self.period() + 1) / 2
    }

    /// The count written during the run takes over, at `tick`, in the same phase.
    fn switch(&mut self, tick: i64) {
        let goes_high = self.out(tick);
        self.count = self.reload;
        let phase = if goes_high { 0 } else { self.high_ticks() };
        self.run = Run::Since { tick: tick - phase };
        self.switch_tick = None;
    }

    fn set_gate(&mut self, gate: bool, tick: i64) {
        if gate == self.gate {
            return;
        }
        self.gate = gate;
        match self.mode {
            0 | 4 => {
                self.run = match self.run {
                    Run::Since { tick: start } if !gate => Run::Held { ticks: (tick - start).max(0) },
                    Run::Held { ticks } if gate => Run::Since { tick: tick - ticks },
                    run => run,
                }
            }
            // A rising gate starts or restarts; in modes 1 and 5 the level of the gate does not matter.
            _ if gate && self.reload != 0 => self.start(tick),
            2 | 3 if !gate => {
                self.run = self.elapsed(tick).map_or(Run::Idle, |ticks| Run::Held { ticks: ticks.max(0) });
                self.switch_tick = None;
            }
            _ => {}
        }
    }

    fn elapsed(&self, tick: i64) -> Option<i64> {
        match self.run {
            Run::Idle => None,
            Run::Held { ticks } => Some(ticks),
            Run::Since { tick: start } => Some(tick - start),
        }
    }

    /// Level of OUT.
    fn out(&self, tick: i64) -> bool {
        let idle = self.mode != 0;
        if self.periodic() && !self.gate {
            return true;
        }
        let Some(elapsed) = self.elapsed(tick).filter(|ticks| *ticks >= 0) else {
            return idle;
        };
        match self.mode {
            0 | 1 => elapsed >= self.period(),
            2 => elapsed % self.period() != self.period() - 1,
            3 => elapsed % self.period() < self.high_ticks(),
            _ => elapsed != self.period(),
        }
    }

    /// The tick of the first rising edge of OUT after `tick`, if nobody touches the counter.
    fn next_rise(&self, tick: i64) -> Option<i64> {
        let Run::Since { tick: start } = self.run else {
            return None;
        };
        let periods_done = (tick - start).div_euclid(self.period()).max(0);
        let rise = match self.mode {
            0 | 1 => start + self.period(),
            2 | 3 => start + (periods_done + 1) * self.period(),
            _ => start + self.period() + 1,
        };
        match self.switch_tick {
            Some(switch_tick) if switch_tick < rise => {
                let mut switched = self.clone();
                switched.switch(switch_tick);
                switched.next_rise(switch_tick)
            }
            _ => Some(rise).filter(|rise| *rise > tick),
        }
    }

    /// The counting element as the guest reads it.
    fn value(&self, tick: i64) -> u16 {
        let Some(elapsed) = self.elapsed(tick) else {
            return encode_count(i64::from(self.reload), self.bcd);
        };
        let elapsed = elapsed.max(0);
        let phase = elapsed % self.period();
        let value = match self.mode {
            2 => self.period() - phase,
            3 if phase < self.high_ticks() => (self.period() & !1) - 2 * phase,
            3 => (self.period() & !1) - 2 * (phase - self.high_ticks()),
            _ => self.period() - elapsed,
        };
        encode_count(value, self.bcd)
    }

    fn status(&self, tick: i64) -> u8 {
        let not_loaded = self.switch_tick.is_some() || self.elapsed(tick).is_none_or(|ticks| ticks < 0);
        u8::from(self.out(tick)) << 7
            | u8::from(not_loaded) << 6
            | self.access << 4
            | self.mode << 1
            | u8::from(self.bcd)
    }

    /// A latch holds until it is read; latching again before that does nothing.
    fn latch(&mut self, count: bool, status: bool, tick: i64) {
        if count && self.latched_count.is_none() {
            self.latched_count = Some(self.value(tick));
        }
        if status && self.latched_status.is_none() {
            self.latched_status = Some(self.status(tick));
        }
    }

    fn read(&mut self, tick: i64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.value(tick)).to_le_bytes();
        let high_now = match self.access {
            1 => false,
            2 => true,
            _ => self.read_high_next,
        };
        self.read_high_next = self.access == 3 && !high_now;
        if !self.read_high_next {
            self.latched_count = None;
        }
        if high_now { high } else { low }
    }
}

/// A written count: zero stands for the largest one, 65536 or (BCD) 10000.
fn decode_count(raw: u16, bcd: bool) -> u32 {
    let raw = u32::from(raw);
    match (bcd, raw) {
        (false, 0) => 65536,
        (true, 0) => 10000,
        (false, _) => raw,
        (true, _) => (raw >> 12) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15),
    }
}

/// The counting element wraps at 65536 or (BCD) 10000.
#[expect(clippy::cast_possible_truncation, reason = "a counter has 16 bits")]
fn encode_count(value: i64, bcd: bool) -> u16 {
    if !bcd {
        return (value & 0xffff) as u16;
    }
    let value = value.rem_euclid(10000) as u16;
    (value / 1000) << 12 | (value / 100 % 10) << 8 | (value / 10 % 10) << 4 | (value % 10)
}

/// The timer of a PC: counter 0 on IRQ 0, counter 1 (refresh), counter 2 (speaker) behind port 0x61.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pit {
    counters: [Counter; 3],
    /// How far [`Pit::advance`] has come.
    tick: i64,
    rose: bool,
    /// Bits 3:0 of port 0x61.
    control_b: u8,
}

impl Default for Pit {
    fn default() -> Self {
        Self::new()
    }
}

impl Pit {
    /// A timer that nobody has programmed: nothing counts, outputs are high, the gate of counter 2 is low.
    pub fn new() -> Self {
        let mut counters = [Counter::new(), Counter::new(), Counter::new()];
        counters[2].gate = false;
        Pit { counters, tick: 0, rose: false, control_b: 0 }
    }

    /// Checks that a timer can be in this state.
    pub(crate) fn check(&self) -> Checked {
        ensure((0..=TICK_MAX).contains(&self.tick) && self.control_b <= 0xf, "PIT")?;
        self.counters.iter().try_for_each(|counter| counter.check(self.tick))
    }

    /// Reads port 0x40-0x43 or 0x61 at guest time `now_ns`; all ones elsewhere.
    pub fn read(&mut self, port: u16, now_ns: u64) -> u8 {
        self.advance(now_ns);
        match port {
            0x40..=0x42 => self.counters[usize::from(port - 0x40)].read(self.tick),
            0x61 => {
                let refresh = (self.tick / REFRESH_TICKS) % 2 == 1;
                let out2 = self.counters[2].out(self.tick);
                u8::from(out2) << 5 | u8::from(refresh) << 4 | self.control_b
            }
            _ => 0xff,
        }
    }

    /// Writes port 0x40-0x43 or 0x61 at guest time `now_ns`; nothing happens elsewhere.
    pub fn write(&mut self, port: u16, value: u8, now_ns: u64) {
        self.advance(now_ns);
        let was_high = self.out0();
        match port {
            0x40..=0x42 => self.counters[usize::from(port - 0x40)].write(value, self.tick),
            0x43 => self.write_control(value),
            0x61 => {
                self.control_b = value & 0x0f;
                self.counters[2].set_gate(value & 1 != 0, self.tick);
            }
            _ => {}
        }
        self.rose |= !was_high && self.out0();
    }

    /// Lets the counters run up to guest time `now_ns`. A time in the past has no effect.
    pub fn advance(&mut self, now_ns: u64) {
        let now = tick_at(now_ns);
        if now <= self.tick {
            return;
        }
        self.rose |= self.counters[0].next_rise(self.tick).is_some_and(|rise| rise <= now);
        for counter in &mut self.counters {
            if let Some(tick) = counter.switch_tick.filter(|tick| *tick <= now) {
                counter.switch(tick);
            }
        }
        self.tick = now;
    }

    /// Level of OUT of counter 0, the line of IRQ 0.
    pub fn out0(&self) -> bool {
        self.counters[0].out(self.tick)
    }

    /// Whether OUT of counter 0 rose (at least once) since the last call. The bus then gives line 0 of the PIC a fall and
    /// a rise, and leaves it high: time moves in steps here, and a request must not be withdrawn because the
    /// step ended in the low half of a square wave.
    pub fn take_edge0(&mut self) -> bool {
        std::mem::take(&mut self.rose)
    }

    /// Guest time of the next rising edge of OUT of counter 0, in nanoseconds; `None` when there will be none.
    pub fn next_deadline(&self) -> Option<u64> {
        first_ns_of(self.counters[0].next_rise(self.tick)?)
    }

    /// Control word, counter latch command or read-back command.
    fn write_control(&mut self, value: u8) {
        let tick = self.tick;
        let selected = usize::from(value >> 6);
        if selected == 3 {
            let (count, status) = (value & 0x20 == 0, value & 0x10 == 0);
            for (index, counter) in self.counters.iter_mut().enumerate() {
                if value >> (index + 1) & 1 != 0 {
                    counter.latch(count, status, tick);
                }
            }
        } else if value & 0x30 == 0 {
            self.counters[selected].latch(true, false, tick);
        } else {
            self.counters[selected].program(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first nanosecond of a tick, by definition.
    fn ns(tick: u64) -> u64 {
        u64::try_from((u128::from(tick) * 1_000_000_000).div_ceil(u128::from(HZ))).unwrap()
    }

    /// Counter 0 with a control word and a 16-bit count, written at tick 0: loaded at tick 1.
    fn counter0(control: u8, count: u16) -> Pit {
        let mut pit = Pit::new();
        pit.write(0x43, control, 0);
        for byte in count.to_le_bytes() {
            pit.write(0x40, byte, 0);
        }
        pit.take_edge0();
        pit
    }

    fn latched(pit: &mut Pit, tick: u64) -> u16 {
        pit.write(0x43, 0x00, ns(tick));
        u16::from_le_bytes([pit.read(0x40, ns(tick)), pit.read(0x40, ns(tick))])
    }

    fn outs(pit: &mut Pit, ticks: std::ops::Range<u64>) -> String {
        let level = |tick| {
            pit.advance(ns(tick));
            if pit.out0() { 'H' } else { '_' }
        };
        ticks.map(level).collect()
    }

    #[test]
    fn ticks_and_nanoseconds_round_one_way() {
        for tick in [0, 1, 2, 1193, HZ - 1, HZ, HZ + 1, 86_400 * HZ + 7, 22_000_000_000_000_000] {
            let first = first_ns_of(tick as i64).unwrap();
            assert_eq!(first, ns(tick));
            assert_eq!(tick_at(first), tick as i64);
            assert!(first == 0 || tick_at(first - 1) == tick as i64 - 1);
        }
        assert_eq!(first_ns_of(i64::MAX), None);
    }

    #[test]
    fn periodic_edges_never_drift() {
        let mut pit = counter0(0x34, 1193);
        for edge in 1..200_000 {
            let deadline = pit.next_deadline().unwrap();
            assert_eq!(deadline, ns(1 + edge * 1193));
            pit.advance(deadline - 1);
            assert!(!pit.take_edge0());
            pit.advance(deadline);
            assert!(pit.take_edge0() && pit.out0());
        }
        let day_ns = 86_400 * NS_PER_S;
        pit.advance(day_ns);
        assert!(pit.take_edge0() && !pit.take_edge0(), "a day in one step is one edge");
        assert_eq!(pit.next_deadline(), Some(ns(1 + (86_400 * HZ - 1).div_ceil(1193) * 1193)));
    }

    #[test]
    fn mode_0_rises_once_n_plus_one_ticks_after_the_write() {
        let mut pit = counter0(0x30, 5);
        assert_eq!(outs(&mut pit, 0..9), "______HHH");
        assert!(pit.take_edge0());
        assert_eq!(pit.next_deadline(), None);
        assert_eq!(latched(&mut pit, 9), 0xfffd, "the count goes on below zero");
        pit.write(0x40, 3, ns(9));
        assert_eq!((pit.out0(), pit.next_deadline()), (false, None), "the first byte stops the count");
        pit.write(0x40, 0, ns(20));
        assert_eq!(pit.next_deadline(), Some(ns(24)));
    }

    #[test]
    fn mode_2_is_low_in_the_last_tick_of_its_period() {
        let mut pit = counter0(0x34, 4);
        assert_eq!(outs(&mut pit, 0..10), "HHHH_HHH_H");
        let values: Vec<u16> = (10..15).map(|tick| latched(&mut pit, tick)).collect();
        assert_eq!(values, [3, 2, 1, 4, 3]);
        assert_eq!(counter0(0x34, 0).next_deadline(), Some(ns(65537)));
    }

    #[test]
    fn mode_3_is_a_square_wave() {
        assert_eq!(outs(&mut counter0(0x36, 4), 0..10), "HHH__HH__H");
        let mut odd = counter0(0x36, 5);
        assert_eq!(outs(&mut odd, 0..12), "HHHH__HHH__H");
        let values: Vec<u16> = (16..21).map(|tick| latched(&mut odd, tick)).collect();
        assert_eq!(values, [4, 2, 0, 4, 2]);
        assert_eq!(odd.next_deadline(), Some(ns(21)));
    }

    #[test]
    fn a_new_count_waits_for_the_end_of_the_period() {
        let mut pit = counter0(0x34, 10);
        for byte in [3, 0] {
            pit.write(0x40, byte, ns(5));
        }
        assert_eq!(latched(&mut pit, 6), 5);
        pit.write(0x43, 0xe2, ns(6));
        assert_eq!(pit.read(0x40, ns(6)) & 0x40, 0x40, "null count");
        assert_eq!(outs(&mut pit, 7..18), "HHH_HH_HH_H");
        let mut square = counter0(0x36, 8);
        for byte in [4, 0] {
            square.write(0x40, byte, ns(2));
        }
        assert_eq!(square.next_deadline(), Some(ns(7)));
        assert_eq!(outs(&mut square, 2..12), "HHH__HH__H");
    }

    #[test]
    fn mode_4_strobes_low_for_one_tick() {
        let mut pit = counter0(0x38, 3);
        assert_eq!(pit.next_deadline(), Some(ns(5)));
        assert_eq!(outs(&mut pit, 0..8), "HHHH_HHH");
    }

    #[test]
    fn reprogramming_a_low_output_high_is_an_edge() {
        let mut pit = counter0(0x30, 100);
        pit.write(0x43, 0x34, 10);
        assert!(pit.take_edge0());
    }

    #[test]
    fn bcd_counts_in_decimal() {
        let mut pit = counter0(0x31, 0x1000);
        assert_eq!(latched(&mut pit, 2), 0x0999);
        assert_eq!(pit.next_deadline(), Some(ns(1001)));
        assert_eq!(latched(&mut pit, 1002), 0x9999);
        assert_eq!(counter0(0x35, 0).next_deadline(), Some(ns(10001)));
    }

    #[test]
    fn single_byte_access() {
        let mut pit = Pit::new();
        pit.write(0x43, 0x14, 0);
        pit.write(0x40, 200, 0);
        assert_eq!(pit.next_deadline(), Some(ns(201)));
        assert_eq!((pit.read(0x40, ns(2)), pit.read(0x40, ns(3))), (199, 198));
        pit.write(0x43, 0x24, ns(3));
        pit.write(0x40, 2, ns(3));
        assert_eq!(pit.next_deadline(), Some(ns(4 + 512)));
        assert_eq!(pit.read(0x40, ns(5)), 1);
    }

    #[test]
    fn a_latch_holds_until_it_is_read() {
        let mut pit = counter0(0x34, 1000);
        pit.write(0x43, 0x00, ns(11));
        pit.write(0x43, 0x00, ns(50));
        assert_eq!([pit.read(0x40, ns(60)), pit.read(0x40, ns(70))], 990u16.to_le_bytes());
        assert_eq!(pit.read(0x40, ns(101)), 900u16.to_le_bytes()[0]);
    }

    #[test]
    fn read_back_gives_status_then_count() {
        let mut pit = counter0(0x34, 1000);
        pit.write(0x43, 0xc2, ns(1));
        assert_eq!(pit.read(0x40, ns(9)), 0xb4, "OUT high, loaded, two bytes, mode 2");
        assert_eq!([pit.read(0x40, ns(9)), pit.read(0x40, ns(9))], 1000u16.to_le_bytes());
        pit.write(0x43, 0xee, ns(9));
        assert_eq!(pit.read(0x42, ns(9)) & 0x40, 0x40, "counter 2 has no count");
    }

    /// Linux `pit_calibrate_tsc`: counter 2 in mode 0 behind its gate, polled through port 0x61.
    #[test]
    fn linux_calibrates_with_counter_2() {
        let mut pit = Pit::new();
        pit.write(0x61, 0x01, 0);
        pit.write(0x43, 0xb0, 0);
        pit.write(0x42, 0x9b, 0);
        pit.write(0x42, 0x2e, 0);
        assert_eq!(pit.read(0x61, ns(0x2e9b)) & 0x21, 0x01);
        assert_eq!(pit.read(0x61, ns(0x2e9c)) & 0x21, 0x21);
        assert_eq!(pit.next_deadline(), None);
    }

    #[test]
    fn the_gate_suspends_mode_0_and_restarts_mode_2() {
        let mut pit = Pit::new();
        for (port, value) in [(0x43, 0xb0), (0x42, 100), (0x42, 0)] {
            pit.write(port, value, 0);
        }
        pit.write(0x61, 1, ns(10));
        pit.write(0x61, 0, ns(40));
        pit.write(0x61, 1, ns(1000));
        assert_eq!(pit.read(0x61, ns(1069)) & 0x20, 0);
        assert_eq!(pit.read(0x61, ns(1070)) & 0x20, 0x20);
        for (port, value) in [(0x43, 0xb4), (0x42, 100), (0x42, 0)] {
            pit.write(port, value, ns(2000));
        }
        pit.write(0x61, 0, ns(2030));
        assert_eq!(pit.read(0x61, ns(2100)) & 0x20, 0x20, "a low gate holds OUT high");
        pit.write(0x61, 1, ns(3000));
        assert_eq!(pit.read(0x42, ns(3001)), 100);
    }

    #[test]
    fn mode_1_is_a_one_shot_of_the_gate() {
        let mut pit = Pit::new();
        for (port, value) in [(0x43, 0x92), (0x42, 20)] {
            pit.write(port, value, 0);
        }
        assert_eq!(pit.read(0x61, ns(50)) & 0x20, 0x20);
        pit.write(0x61, 1, ns(100));
        assert_eq!(pit.read(0x61, ns(101)) & 0x20, 0);
        assert_eq!(pit.read(0x61, ns(120)) & 0x20, 0);
        assert_eq!(pit.read(0x61, ns(121)) & 0x20, 0x20);
    }

    #[test]
    fn refresh_toggles_and_control_bits_read_back() {
        let mut pit = Pit::new();
        pit.write(0x61, 0xfe, 0);
        assert_eq!(pit.read(0x61, 0), 0x2e);
        assert_eq!(pit.read(0x61, ns(18)), 0x3e);
        assert_eq!(pit.read(0x61, ns(36)), 0x2e);
    }

    #[test]
    fn any_writes_at_any_time_are_survived() {
        let mut pit = Pit::new();
        let mut seed = 1u64;
        for step in 0..200_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [a, b, c, ..] = (seed >> 24).to_le_bytes();
            let port = [0x40, 0x41, 0x42, 0x43, 0x61][usize::from(a % 5)];
            let now_ns = if step < 199_000 { step * u64::from(c) } else { u64::MAX - 200_000 + step };
            match b & 1 {
                0 => pit.write(port, b ^ c, now_ns),
                _ => drop(pit.read(port, now_ns)),
            }
            let deadline = pit.next_deadline();
            assert!(deadline.is_none_or(|ns| tick_at(ns) > pit.tick));
            if let Some(deadline) = deadline.filter(|_| step % 64 == 0) {
                let mut later = pit.clone();
                later.take_edge0();
                later.advance(deadline - 1);
                assert!(!later.take_edge0());
                later.advance(deadline);
                assert!(later.take_edge0() && later.out0());
            }
        }
    }
}
