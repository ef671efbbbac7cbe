//! Devices at register level: a driver that does what the specification says, and one that does not.

mod block;
mod net;
mod rig;

use super::*;
use rig::{Driver, Rig, WRITE};

#[test]
fn a_driver_finds_its_way_from_configuration_space_to_a_running_device() {
    let mut rig = Rig::new(Model::Entropy(Entropy::default()));
    assert_eq!(rig.function.config_read(0, 4), 0x1044_1af4);
    assert_eq!(rig.function.config_read(6, 2) & 0x10, 0x10, "capabilities");
    let found: Vec<_> = rig.capabilities();
    let vendor: Vec<u8> = found.iter().filter(|cap| cap.0 == 9).map(|&(_, at)| rig.cap_byte(at, 3)).collect();
    assert_eq!(vendor, [1, 3, 4, 2, 5], "common, ISR, device, notify, window");
    assert_eq!(found[0].0, 0x11, "MSI-X");
    let mut driver = Driver::start(&mut rig, 0);
    driver.add(&mut rig, 0, &[(0x8000, 16, WRITE)]);
    driver.ring(&mut rig, 0);
    rig.work();
    assert_eq!(driver.used(&rig, 0), [(0, 16)]);
    assert_eq!(rig.ram[0x8000..0x8010], [[1; 8], [2; 8]].concat(), "two answers");
    assert!(rig.function.line(), "INTA");
    assert_eq!(rig.read(0x1000, 1), 1, "a queue");
    assert!(!rig.function.line(), "reading ISR lowers it");
}

#[test]
fn a_query_without_an_answer_changes_nothing() {
    let mut rig = Rig::new(Model::Entropy(Entropy::default()));
    let mut driver = Driver::start(&mut rig, 0);
    driver.add(&mut rig, 0, &[(0x8000, 9, WRITE)]);
    driver.ring(&mut rig, 0);
    rig.step().unwrap();
    rig.starved = true;
    let (function, ram) = (rig.function.clone(), rig.ram.clone());
    assert_eq!(rig.step(), Err(Starved));
    assert_eq!((&rig.function, &rig.ram), (&function, &ram));
    rig.starved = false;
    rig.work();
    assert_eq!(driver.used(&rig, 0), [(0, 9)]);
    assert_eq!(rig.ram[0x8000..0x8009], [1, 1, 1, 1, 1, 1, 1, 1, 2]);
}

#[test]
fn the_console_prints_chains_and_fills_buffers() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    let mut driver = Driver::start(&mut rig, 0);
    rig.ram[0x8000..0x8005].copy_from_slice(b"hello");
    driver.add(&mut rig, 1, &[(0x8000, 2, 0), (0x8002, 3, 0)]);
    driver.ring(&mut rig, 1);
    driver.add(&mut rig, 0, &[(0x9000, 4, WRITE)]);
    driver.add(&mut rig, 0, &[(0x9004, 4, WRITE)]);
    driver.ring(&mut rig, 0);
    rig.work();
    assert_eq!(rig.printed, b"hello");
    assert_eq!(driver.used(&rig, 1), [(0, 0)]);
    assert_eq!(driver.used(&rig, 0), [], "nothing typed");
    rig.console().receive(b"typed!");
    rig.work();
    assert_eq!(driver.used(&rig, 0), [(0, 4), (1, 2)]);
    assert_eq!(rig.ram[0x9000..0x9006], *b"typed!");
    rig.console().receive(b"more");
    rig.work();
    assert_eq!(rig.console().backlog(), 4, "no room: it waits");
    driver.add(&mut rig, 0, &[(0x9010, 8, WRITE)]);
    driver.ring(&mut rig, 0);
    rig.work();
    assert_eq!(rig.ram[0x9010..0x9014], *b"more");
}

#[test]
fn a_long_buffer_is_printed_in_steps() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    let mut driver = Driver::start(&mut rig, 0);
    rig.ram[0x8000..0xb000].fill(b'x');
    driver.add(&mut rig, 1, &[(0x8000, 0x3000, 0)]);
    driver.ring(&mut rig, 1);
    rig.step().unwrap();
    assert_eq!((rig.printed.len(), driver.used(&rig, 1).len()), (4096, 0));
    rig.work();
    assert_eq!((rig.printed.len(), driver.used(&rig, 1).len()), (0x3000, 1));
}

#[test]
fn a_new_size_of_the_terminal_interrupts() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    Driver::start(&mut rig, 1);
    let generation = rig.read(0x15, 1);
    assert!(rig.console().resize(132, 50));
    rig.function.config_changed();
    assert_eq!(rig.read(0x2000, 4), 50 << 16 | 132);
    assert_ne!(rig.read(0x15, 1), generation);
    assert_eq!(rig.read(0x1000, 1), 2, "the configuration");
    assert!(!rig.console().resize(132, 50), "the same again is nothing new");
}

#[test]
fn a_driver_is_told_the_size_that_the_terminal_had_before_it_started() {
    for (size, status) in [([0, 0], 0), ([80, 24], 2)] {
        let mut rig = Rig::new(Model::Console(Console::default()));
        rig.console().resize(size[0], size[1]);
        rig.function.config_changed();
        assert_eq!(rig.read(0x1000, 1), 0, "nobody is there");
        Driver::start(&mut rig, 1);
        assert_eq!((rig.read(0x1000, 1), rig.read(0x1000, 1)), (status, 0));
    }
}

#[test]
fn an_emergency_write_prints_before_anything_is_set_up() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    assert_eq!(rig.write(0x2008, u32::from(b'!'), 4), Some(b'!'));
    assert_eq!(rig.write(0x2000, 7, 4), None);
}

#[test]
fn features_are_what_is_offered_and_version_1_is_a_must() {
    let mut rig = Rig::new(Model::Entropy(Entropy::default()));
    let try_features = |rig: &mut Rig, low: u32, high: u32| {
        rig.write(0x14, 0, 1);
        rig.write(0x14, 3, 1);
        rig.set_features(u64::from(high) << 32 | u64::from(low));
        rig.write(0x14, 3 | 8, 1);
        rig.read(0x14, 1) & 8 != 0
    };
    assert!(try_features(&mut rig, 0, 1));
    assert!(try_features(&mut rig, 1 << 28 | 1 << 29, 1));
    assert!(!try_features(&mut rig, 1 << 28, 0), "a legacy driver");
    assert!(!try_features(&mut rig, 1, 1), "never offered");
    rig.write(0x14, 15, 1);
    assert_eq!(rig.read(0x14, 1) & 12, 0, "no DRIVER_OK without FEATURES_OK");
}

#[test]
fn what_is_in_use_cannot_be_changed_but_reset() {
    let mut rig = Rig::new(Model::Entropy(Entropy::default()));
    let mut driver = Driver::start(&mut rig, 0);
    rig.write(0x16, 0, 2);
    let rings = rig.read(0x20, 4);
    rig.write(0x20, 0xdead_0000, 4);
    rig.write(0x18, 4, 2);
    assert_eq!((rig.read(0x20, 4), rig.read(0x18, 2)), (rings, 8));
    driver.add(&mut rig, 0, &[(0x8000, 8, WRITE)]);
    driver.ring(&mut rig, 0);
    rig.write(0x3a, 1, 2);
    assert_eq!((rig.read(0x1c, 2), rig.read(0x18, 2)), (0, 64), "a queue after reset");
    assert!(!rig.function.is_due());
    rig.write(0x14, 0, 1);
    assert_eq!((rig.read(0x14, 1), rig.read(0x1a, 2)), (0, 0xffff));
}

#[test]
fn sizes_that_no_queue_has_are_not_taken() {
    let mut rig = Rig::new(Model::Entropy(Entropy::default()));
    for size in [0, 3, 65, 128, 0xffff] {
        rig.write(0x18, size, 2);
        assert_eq!(rig.read(0x18, 2), 64);
    }
    rig.write(0x16, 1, 2);
    assert_eq!(rig.read(0x18, 2), 0, "there is no second queue");
}

#[test]
fn indirect_tables_are_followed() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    let mut driver = Driver::start(&mut rig, 0);
    rig.ram[0x8000..0x8004].copy_from_slice(b"abcd");
    rig.descriptor(0x7000, 0, (0x8002, 2, rig::NEXT), 1);
    rig.descriptor(0x7000, 1, (0x8000, 2, 0), 0);
    driver.add(&mut rig, 1, &[(0x7000, 32, rig::INDIRECT)]);
    driver.ring(&mut rig, 1);
    rig.work();
    assert_eq!(rig.printed, b"cdab");
}

#[test]
fn the_doorbell_and_the_interrupt_are_asked_for_by_index() {
    const EVENT_IDX: u64 = 1 << 29;
    let mut rig = Rig::new(Model::Console(Console::default()));
    let mut driver = Driver::start(&mut rig, EVENT_IDX);
    driver.set_used_event(&mut rig, 1, 1);
    for n in 0..3 {
        assert_eq!(driver.available_event(&rig, 1), n, "asks for the doorbell at the next buffer");
        driver.add(&mut rig, 1, &[(0x8000, 1, 0)]);
        driver.ring(&mut rig, 1);
        rig.work();
        assert_eq!(rig.read(0x1000, 1), u32::from(n == 1), "only the second one was asked for");
    }
}

#[test]
fn without_indices_a_flag_suppresses_interrupts() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    let mut driver = Driver::start(&mut rig, 0);
    driver.suppress_interrupts(&mut rig, 1, true);
    for quiet in [true, false] {
        driver.suppress_interrupts(&mut rig, 1, quiet);
        driver.add(&mut rig, 1, &[(0x8000, 1, 0)]);
        driver.ring(&mut rig, 1);
        rig.work();
        assert_eq!(rig.read(0x1000, 1), u32::from(!quiet));
    }
}

#[test]
fn rings_that_make_no_sense_need_a_reset() {
    type Harm = fn(&mut Driver, &mut Rig);
    let harms: [(&str, Harm); 9] = [
        ("a chain that bites its tail", |driver, rig| {
            driver.add(rig, 1, &[(0x8000, 1, 0)]);
            rig.descriptor(Driver::rings(1), 0, (0x8000, 1, rig::NEXT), 0);
        }),
        ("a descriptor that does not exist", |driver, rig| {
            driver.add(rig, 1, &[(0x8000, 1, 0)]);
            rig.descriptor(Driver::rings(1), 0, (0x8000, 1, rig::NEXT), 8);
        }),
        ("what is read behind what is written", |driver, rig| {
            driver.add(rig, 1, &[(0x8000, 1, WRITE), (0x8000, 1, 0)])
        }),
        ("more chains than the queue holds", |driver, rig| driver.set_available(rig, 1, 9)),
        ("a buffer outside RAM", |driver, rig| driver.add(rig, 1, &[(0xc000_0000, 1, 0)])),
        ("a buffer that leaves RAM", |driver, rig| driver.add(rig, 1, &[(rig::RAM as u64 - 1, 2, 0)])),
        ("a buffer at the end of the world", |driver, rig| driver.add(rig, 1, &[(u64::MAX, 2, 0)])),
        ("an indirect table within one", |driver, rig| {
            rig.descriptor(0x7000, 0, (0x7000, 16, rig::INDIRECT), 0);
            driver.add(rig, 1, &[(0x7000, 16, rig::INDIRECT)]);
        }),
        ("an indirect table of an odd size", |driver, rig| driver.add(rig, 1, &[(0x7000, 17, rig::INDIRECT)])),
    ];
    for (what, harm) in harms {
        let mut rig = Rig::new(Model::Console(Console::default()));
        let mut driver = Driver::start(&mut rig, 0);
        harm(&mut driver, &mut rig);
        driver.ring(&mut rig, 1);
        rig.work();
        assert_eq!(rig.read(0x14, 1) & 64, 64, "{what}");
        assert_eq!(rig.read(0x1000, 1), 2, "{what}: the driver is told");
        assert_eq!(rig.printed, b"", "{what}");
        driver.ring(&mut rig, 1);
        assert!(!rig.function.is_due(), "{what}: not before a reset");
    }
}

#[test]
fn without_bus_mastering_nothing_moves() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    let mut driver = Driver::start(&mut rig, 0);
    driver.add(&mut rig, 1, &[(0x8000, 1, 0)]);
    rig.function.config_write(4, 2, 2);
    driver.ring(&mut rig, 1);
    assert!(!rig.function.is_due());
    rig.function.config_write(4, 2, 6);
    assert!(rig.function.is_due());
}

#[test]
fn interrupts_are_messages_once_msix_is_on() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    let mut driver = Driver::start(&mut rig, 0);
    rig.set_vector(2, 0xfee0_1000, 0x41);
    rig.function.config_write(0x42, 2, 0x8000);
    rig.write(0x16, 1, 2);
    rig.write(0x1a, 2, 2);
    assert_eq!(rig.read(0x1a, 2), 2);
    driver.add(&mut rig, 1, &[(0x8000, 1, 0)]);
    driver.ring(&mut rig, 1);
    rig.work();
    let message = crate::dev::pci::msix::Message { address: 0xfee0_1000, data: 0x41 };
    assert_eq!((rig.function.poll_message(), rig.function.poll_message()), (Some(message), None));
    assert!(!rig.function.line() && rig.read(0x1000, 1) == 0, "and no line");
    // Masked, it stays pending.
    rig.write_msix(2 * 16 + 12, 1);
    driver.add(&mut rig, 1, &[(0x8000, 1, 0)]);
    driver.ring(&mut rig, 1);
    rig.work();
    assert_eq!((rig.function.poll_message(), rig.read_msix(0x800)), (None, 4));
    rig.function.config_write(0x42, 2, 0xc000);
    rig.write_msix(2 * 16 + 12, 0);
    assert_eq!(rig.function.poll_message(), None, "the whole function is masked");
    rig.function.config_write(0x42, 2, 0x8000);
    assert_eq!((rig.function.poll_message(), rig.read_msix(0x800)), (Some(message), 0));
    rig.write(0x1a, 3, 2);
    assert_eq!(rig.read(0x1a, 2), 0xffff, "there is no such vector");
}

#[test]
fn the_window_in_configuration_space_reaches_the_registers() {
    let mut rig = Rig::new(Model::Console(Console::default()));
    let at = rig.capabilities().last().unwrap().1;
    rig.function.config_write(at + 4, 1, 0);
    rig.function.config_write(at + 8, 4, 0x14);
    rig.function.config_write(at + 12, 4, 1);
    rig.function.config_write(at + 16, 1, 3);
    assert_eq!((rig.read(0x14, 1), rig.function.config_read(at + 16, 1)), (3, 3));
    rig.function.config_write(at + 8, 4, 0x2008);
    rig.function.config_write(at + 12, 4, 4);
    assert_eq!(rig.function.config_write(at + 16, 4, 0x21), Some(b'!'));
    for (bar, offset, length) in [(1, 0, 4), (0, 0x4000, 4), (0, u32::MAX, 1), (0, 2, 4), (0, 0, 3), (2, 0xfff, 2)] {
        rig.function.config_write(at + 4, 1, bar);
        rig.function.config_write(at + 8, 4, offset);
        rig.function.config_write(at + 12, 4, length);
        assert_eq!(rig.function.config_read(at + 16, 4), 0, "{bar} {offset:#x} {length}");
        assert_eq!(rig.function.config_write(at + 16, 4, 0x21), None);
    }
}

#[test]
fn states_that_cannot_be_are_refused() {
    let new = || Function::new(1, Model::Console(Console::default()));
    let mut rig = Rig::new(Model::Console(Console::default()));
    Driver::start(&mut rig, 0);
    assert_eq!(rig.function.check(&new()), Ok(()));
    assert!(rig.function.check(&Function::new(1, Model::Entropy(Entropy::default()))).is_err());
    assert!(rig.function.check(&Function::new(2, Model::Console(Console::default()))).is_err());
    rig.console().receive(&[0; (1 << 16) + 1]);
    assert!(rig.function.check(&new()).is_err());
}

impl Rig {
    fn console(&mut self) -> &mut Console {
        match self.function.model_mut() {
            Model::Console(console) => console,
            _ => panic!("no console"),
        }
    }
}
