//! 16550A UART (National Semiconductor PC16550D data sheet), wired as COM1 of a PC.
//!
//! Transmission takes no time. Reception is paced by the guest: bytes from the host wait in a long queue whose
//! first 16 (or one, with FIFOs off) are what the guest sees in the receiver, so that nothing is ever overrun.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

const FIFO_BYTES: usize = 16;
/// Bytes from the host that can wait: far more than anyone types before the guest reads.
pub const BACKLOG_MAX: usize = 1 << 16;

// Interrupt enable (IER).
const IER_RECEIVED: u8 = 0x01;
const IER_THR_EMPTY: u8 = 0x02;
const IER_LINE_STATUS: u8 = 0x04;
const IER_MODEM_STATUS: u8 = 0x08;
const IER_MASK: u8 = 0x0f;

// Interrupt identification (IIR), in falling order of priority.
const IIR_LINE_STATUS: u8 = 0x06;
const IIR_RECEIVED: u8 = 0x04;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_THR_EMPTY: u8 = 0x02;
const IIR_MODEM_STATUS: u8 = 0x00;
const IIR_NONE: u8 = 0x01;
const IIR_FIFOS_ON: u8 = 0xc0;

// FIFO control (FCR).
const FCR_ENABLE: u8 = 0x01;
const FCR_RESET_RECEIVER: u8 = 0x02;
const FCR_KEPT: u8 = 0xc9; // enable, DMA mode, trigger level; the resets clear themselves

const LCR_DLAB: u8 = 0x80;

// Modem control (MCR).
const MCR_DTR: u8 = 0x01;
const MCR_RTS: u8 = 0x02;
const MCR_OUT1: u8 = 0x04;
const MCR_OUT2: u8 = 0x08;
const MCR_LOOP: u8 = 0x10;
const MCR_MASK: u8 = 0x1f;

// Line status (LSR).
const LSR_DATA_READY: u8 = 0x01;
const LSR_OVERRUN: u8 = 0x02;
const LSR_TRANSMITTER_EMPTY: u8 = 0x60; // THRE and TEMT

// Modem status (MSR): the inputs; each has its delta bit four places lower.
const MSR_CTS: u8 = 0x10;
const MSR_DSR: u8 = 0x20;
const MSR_RI: u8 = 0x40;
const MSR_DCD: u8 = 0x80;
/// The terminal at the other end is always there and always ready.
const MSR_CONNECTED: u8 = MSR_CTS | MSR_DSR | MSR_DCD;

/// A 16550A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uart {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    scratch: u8,
    divisor: [u8; 2],
    msr_deltas: u8,
    overrun: bool,
    thr_empty_pending: bool,
    fell: bool,
    /// Bytes from the host that the guest has not read; the receiver holds the first ones.
    received: VecDeque<u8>,
    /// What the receiver holds in loopback mode.
    looped: VecDeque<u8>,
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart {
    /// A UART after master reset, with divisor 1 (115,200 baud).
    pub fn new() -> Self {
        Uart {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            scratch: 0,
            divisor: [1, 0],
            msr_deltas: 0,
            overrun: false,
            thr_empty_pending: false,
            fell: false,
            received: VecDeque::new(),
            looped: VecDeque::new(),
        }
    }

    /// Checks that a UART can be in this state.
    pub(crate) fn check(&self) -> Checked {
        let registers =
            self.ier <= IER_MASK && self.mcr <= MCR_MASK && self.fcr & !FCR_KEPT == 0 && self.msr_deltas <= 0xf;
        ensure(registers && self.looped.len() <= FIFO_BYTES, "UART")
    }

    /// Reads register `reg` (0..=7).
    pub fn read(&mut self, reg: u8) -> u8 {
        match reg & 7 {
            0 | 1 if self.dlab() => self.divisor[usize::from(reg & 1)],
            0 => self.read_received(),
            1 => self.ier,
            2 => self.read_iir(),
            3 => self.lcr,
            4 => self.mcr,
            5 => self.read_lsr(),
            6 => self.modem_inputs() | std::mem::take(&mut self.msr_deltas),
            _ => self.scratch,
        }
    }

    /// Writes register `reg` (0..=7). `Some(byte)` is a byte that leaves on the line.
    pub fn write(&mut self, reg: u8, value: u8) -> Option<u8> {
        match reg & 7 {
            0 | 1 if self.dlab() => self.divisor[usize::from(reg & 1)] = value,
            0 => return self.transmit(value),
            1 => self.write_ier(value & IER_MASK),
            2 => self.write_fcr(value),
            3 => self.lcr = value,
            4 => self.write_mcr(value & MCR_MASK),
            5 | 6 => {} // LSR and MSR are for the guest to read
            _ => self.scratch = value,
        }
        None
    }

    /// Bytes arrive from the host. They wait until the guest reads them.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend(bytes);
    }

    /// How many bytes from the host the guest has not read.
    pub fn backlog(&self) -> usize {
        self.received.len()
    }

    /// Level of the interrupt line: INTR, gated by OUT2 as on a PC (OUT2 is disconnected in loopback mode).
    pub fn irq(&self) -> bool {
        self.mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2 && self.interrupt() != IIR_NONE
    }

    /// Whether INTR went low for a moment since the last call, whatever [`Uart::irq`] says now. On a real line the next
    /// byte takes time to come or go and the edge-triggered PIC sees a new edge for it; a handler that serves one
    /// byte per interrupt depends on that. The bus lowers the line before it sets it to `irq()`.
    pub fn take_fall(&mut self) -> bool {
        std::mem::take(&mut self.fell)
    }

    fn dlab(&self) -> bool {
        self.lcr & LCR_DLAB != 0
    }

    fn fifos_on(&self) -> bool {
        self.fcr & FCR_ENABLE != 0
    }

    fn looped_back(&self) -> bool {
        self.mcr & MCR_LOOP != 0
    }

    /// How many bytes the receiver can hold.
    fn depth(&self) -> usize {
        if self.fifos_on() { FIFO_BYTES } else { 1 }
    }

    /// How many bytes the receiver holds.
    fn held(&self) -> usize {
        let queue = if self.looped_back() { &self.looped } else { &self.received };
        queue.len().min(self.depth())
    }

    fn trigger_level(&self) -> usize {
        if !self.fifos_on() {
            return 1;
        }
        match self.fcr >> 6 {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        }
    }

    /// The interrupt of highest priority, as IIR bits 3:0 show it. Bytes below the trigger level time out at once.
    fn interrupt(&self) -> u8 {
        let held = self.held();
        if self.ier & IER_LINE_STATUS != 0 && self.overrun {
            IIR_LINE_STATUS
        } else if self.ier & IER_RECEIVED != 0 && held >= self.trigger_level() {
            IIR_RECEIVED
        } else if self.ier & IER_RECEIVED != 0 && held > 0 {
            IIR_TIMEOUT
        } else if self.ier & IER_THR_EMPTY != 0 && self.thr_empty_pending {
            IIR_THR_EMPTY
        } else if self.ier & IER_MODEM_STATUS != 0 && self.msr_deltas != 0 {
            IIR_MODEM_STATUS
        } else {
            IIR_NONE
        }
    }

    fn read_received(&mut self) -> u8 {
        let queue = if self.looped_back() { &mut self.looped } else { &mut self.received };
        let byte = queue.pop_front();
        self.fell |= byte.is_some();
        byte.unwrap_or(0)
    }

    fn read_iir(&mut self) -> u8 {
        let interrupt = self.interrupt();
        if interrupt == IIR_THR_EMPTY {
            self.thr_empty_pending = false;
        }
        interrupt | if self.fifos_on() { IIR_FIFOS_ON } else { 0 }
    }

    fn read_lsr(&mut self) -> u8 {
        let data_ready = if self.held() > 0 { LSR_DATA_READY } else { 0 };
        let overrun = if std::mem::take(&mut self.overrun) { LSR_OVERRUN } else { 0 };
        LSR_TRANSMITTER_EMPTY | data_ready | overrun
    }

    /// Enabling the THR-empty interrupt raises it when THR is empty, which it always is; Linux tests for this.
    fn write_ier(&mut self, ier: u8) {
        if (self.ier ^ ier) & IER_THR_EMPTY != 0 {
            self.thr_empty_pending = ier & IER_THR_EMPTY != 0;
        }
        self.ier = ier;
    }

    /// A receiver reset drops looped-back bytes only: what the host sent is never lost.
    fn write_fcr(&mut self, value: u8) {
        let fcr = if value & FCR_ENABLE != 0 { value & FCR_KEPT } else { 0 };
        if (self.fcr ^ fcr) & FCR_ENABLE != 0 || value & (FCR_ENABLE | FCR_RESET_RECEIVER) == 3 {
            self.looped.clear();
        }
        self.fcr = fcr;
    }

    fn write_mcr(&mut self, mcr: u8) {
        let before = self.modem_inputs();
        self.mcr = mcr;
        if !self.looped_back() {
            self.looped.clear();
        }
        let after = self.modem_inputs();
        let ri_ended = before & !after & MSR_RI;
        self.msr_deltas |= ((before ^ after) & !MSR_RI | ri_ended) >> 4;
    }

    fn modem_inputs(&self) -> u8 {
        if !self.looped_back() {
            return MSR_CONNECTED;
        }
        [(MCR_DTR, MSR_DSR), (MCR_RTS, MSR_CTS), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)]
            .iter()
            .filter(|(output, _)| self.mcr & output != 0)
            .fold(0, |inputs, (_, input)| inputs | input)
    }

    fn transmit(&mut self, byte: u8) -> Option<u8> {
        self.fell |= self.thr_empty_pending;
        self.thr_empty_pending = self.ier & IER_THR_EMPTY != 0;
        if !self.looped_back() {
            return Some(byte);
        }
        if self.looped.len() < self.depth() {
            self.looped.push_back(byte);
        } else {
            self.overrun = true;
            if !self.fifos_on() {
                self.looped[0] = byte; // the holding register is overwritten, a FIFO is not
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIFO_ON_TRIGGER_14: u8 = 0xc1;

    fn console() -> Uart {
        let mut uart = Uart::new();
        uart.write(4, MCR_OUT2 | MCR_RTS | MCR_DTR);
        uart
    }

    #[test]
    fn divisor_hides_behind_dlab() {
        let mut uart = Uart::new();
        uart.write(3, 0x83);
        assert_eq!(uart.write(0, 0x0c), None);
        uart.write(1, 0x34);
        assert_eq!((uart.read(0), uart.read(1)), (0x0c, 0x34));
        uart.write(3, 0x03);
        assert_eq!((uart.read(1), uart.write(0, b'x')), (0, Some(b'x')));
    }

    #[test]
    fn linux_autoconfig_finds_a_16550a() {
        let mut uart = Uart::new();
        uart.write(1, 0);
        assert_eq!(uart.read(1) & 0x0f, 0);
        uart.write(1, 0xff);
        assert_eq!(uart.read(1), 0x0f, "no IER bits of later chips");
        uart.write(1, 0);
        uart.write(4, MCR_LOOP | MCR_OUT2 | MCR_RTS);
        assert_eq!(uart.read(6) & 0xf0, MSR_DCD | MSR_CTS);
        uart.write(4, 0);
        uart.write(2, 0x21);
        assert_eq!(uart.read(2), 0xc1, "FIFOs on, no 64-byte mode");
        uart.write(7, 0x5a);
        assert_eq!(uart.read(7), 0x5a);
    }

    #[test]
    fn linux_fifo_size_probe_counts_sixteen() {
        let mut uart = Uart::new();
        uart.receive(b"typed early");
        uart.write(2, 0x07);
        uart.write(4, MCR_LOOP);
        for byte in 0..=255 {
            assert_eq!(uart.write(0, byte), None, "nothing leaves in loopback mode");
        }
        assert_eq!(uart.read(5), 0x63);
        assert_eq!(uart.read(5), 0x61, "reading LSR clears the overrun");
        let mut seen = Vec::new();
        while uart.read(5) & LSR_DATA_READY != 0 {
            seen.push(uart.read(0));
        }
        assert_eq!(seen, (0..16).collect::<Vec<u8>>());
        uart.write(4, 0);
        assert_eq!((uart.backlog(), uart.read(0)), (11, b't'));
    }

    #[test]
    fn loopback_holding_register_is_overwritten() {
        let mut uart = Uart::new();
        uart.write(4, 0x1e);
        uart.write(0, 0xae);
        assert_eq!(uart.read(0), 0xae);
        uart.write(0, 1);
        uart.write(0, 2);
        assert_eq!((uart.read(5) & LSR_OVERRUN, uart.read(0)), (LSR_OVERRUN, 2));
    }

    #[test]
    fn thr_empty_interrupt_comes_on_enable_and_after_each_byte() {
        let mut uart = console();
        assert!(!uart.irq());
        for _ in 0..2 {
            uart.write(1, IER_THR_EMPTY);
            assert!(uart.irq());
            assert_eq!(uart.read(2), IIR_THR_EMPTY);
            assert!(!uart.irq(), "reading IIR clears it");
            assert_eq!(uart.read(2), IIR_NONE);
            uart.write(1, 0);
        }
        uart.write(1, IER_THR_EMPTY);
        uart.read(2);
        assert_eq!(uart.write(0, b'a'), Some(b'a'));
        assert!(uart.irq());
        assert_eq!(uart.read(5), 0x60);
        uart.write(1, 0);
        assert!(!uart.irq());
    }

    #[test]
    fn iir_read_leaves_a_hidden_thr_empty_pending() {
        let mut uart = console();
        uart.write(1, IER_THR_EMPTY | IER_RECEIVED);
        uart.receive(b"a");
        assert_eq!(uart.read(2), IIR_RECEIVED);
        uart.read(0);
        assert_eq!(uart.read(2), IIR_THR_EMPTY);
    }

    #[test]
    fn below_the_trigger_level_the_byte_times_out() {
        let mut uart = console();
        uart.write(2, FIFO_ON_TRIGGER_14);
        uart.write(1, IER_RECEIVED);
        uart.receive(&[7; 13]);
        assert_eq!(uart.read(2), IIR_FIFOS_ON | IIR_TIMEOUT);
        uart.receive(&[7]);
        assert_eq!(uart.read(2), IIR_FIFOS_ON | IIR_RECEIVED);
        while uart.read(5) & LSR_DATA_READY != 0 {
            assert!(uart.irq());
            uart.read(0);
        }
        assert!(!uart.irq());
        assert_eq!(uart.read(0), 0);
    }

    #[test]
    fn a_thousand_bytes_arrive_in_order_whatever_is_reset() {
        let sent: Vec<u8> = (0..1000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut uart = console();
        uart.receive(&sent);
        let mut seen = Vec::new();
        while uart.read(5) & LSR_DATA_READY != 0 {
            if seen.len() % 100 == 0 {
                uart.write(2, if seen.len() % 200 == 0 { 0x07 } else { 0 });
            }
            seen.push(uart.read(0));
            assert_eq!(uart.backlog(), 1000 - seen.len());
        }
        assert_eq!(seen, sent);
    }

    #[test]
    fn each_byte_read_gives_the_edge_triggered_pic_a_new_edge() {
        let mut uart = console();
        uart.write(1, IER_RECEIVED);
        uart.receive(b"ab");
        assert!(uart.irq() && !uart.take_fall());
        uart.read(0);
        assert!(uart.take_fall() && uart.irq());
        assert!(!uart.take_fall());
        uart.read(0);
        assert!(!uart.irq());
    }

    #[test]
    fn line_status_outranks_data_and_modem_status_comes_last() {
        let mut uart = Uart::new();
        uart.write(1, IER_MASK);
        uart.write(4, MCR_LOOP);
        uart.write(0, 1);
        uart.write(0, 2);
        assert_eq!(uart.read(2), IIR_LINE_STATUS);
        uart.read(5);
        assert_eq!(uart.read(2), IIR_RECEIVED);
        uart.read(0);
        assert_eq!(uart.read(2), IIR_THR_EMPTY);
        assert_eq!(uart.read(2), IIR_MODEM_STATUS);
        assert_eq!(uart.read(6), 0x0b, "CTS, DSR and DCD fell");
        assert_eq!(uart.read(2), IIR_NONE);
    }

    #[test]
    fn ring_counts_on_its_trailing_edge_only() {
        let mut uart = Uart::new();
        uart.write(4, MCR_LOOP);
        uart.read(6);
        uart.write(4, MCR_LOOP | MCR_OUT1);
        assert_eq!(uart.read(6), MSR_RI);
        uart.write(4, MCR_LOOP);
        assert_eq!(uart.read(6), MSR_RI >> 4);
    }

    #[test]
    fn out2_gates_the_line() {
        let mut uart = Uart::new();
        uart.write(1, IER_RECEIVED);
        uart.receive(b"a");
        assert!(!uart.irq());
        assert_eq!(uart.read(2), IIR_RECEIVED);
        uart.write(4, MCR_OUT2);
        assert!(uart.irq());
        uart.write(4, MCR_OUT2 | MCR_LOOP);
        assert!(!uart.irq());
    }
}
