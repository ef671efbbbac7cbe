use super::*;

fn bus() -> Pci {
    Pci::new(&Devices { console: ConsolePort::Virtio, entropy: true, ..Devices::default() })
}

fn read(pci: &mut Pci, slot: u32, register: u32) -> u32 {
    pci.set_address(1 << 31 | slot << 11 | register & !3);
    pci.config_read((register & 3) as u8, 4 - (register & 3) as u8)
}

fn write(pci: &mut Pci, slot: u32, register: u32, value: u32) {
    pci.set_address(1 << 31 | slot << 11 | register);
    pci.config_write(0, 4, value);
}

#[test]
fn the_bus_lists_a_bridge_and_what_is_plugged_in() {
    let mut pci = bus();
    let found: Vec<u32> = (0..32).map(|slot| read(&mut pci, slot, 0)).collect();
    assert_eq!(found[..4], [0x0d57_8086, 0x1043_1af4, 0x1044_1af4, u32::MAX]);
    assert!(found[4..].iter().all(|&id| id == u32::MAX));
    assert_eq!(read(&mut pci, 0, 8) >> 16, 0x0600, "a host bridge");
    pci.set_address(1 << 31 | 1 << 11 | 1 << 8);
    assert_eq!(pci.config_read(0, 4), u32::MAX, "no second function");
    pci.set_address(1 << 31 | 1 << 16);
    assert_eq!(pci.config_read(0, 4), u32::MAX, "no second bus");
    pci.set_address(1 << 11);
    assert_eq!(pci.config_read(0, 2), 0xffff, "not enabled");
    pci.set_address(u32::MAX);
    assert_eq!(pci.address(), 0x80ff_fffc);
}

#[test]
fn bars_tell_their_size_and_move() {
    let mut pci = bus();
    assert_eq!([0x10, 0x14, 0x18].map(|bar| read(&mut pci, 1, bar)), [0xfe01_0004, 0, 0xfe01_4000]);
    for bar in [0x10, 0x14, 0x18, 0x1c, 0x24] {
        write(&mut pci, 1, bar, u32::MAX);
    }
    assert_eq!(
        [0x10, 0x14, 0x18, 0x1c, 0x24].map(|bar| read(&mut pci, 1, bar)),
        [0xffff_c004, u32::MAX, 0xffff_f000, 0, 0]
    );
    write(&mut pci, 1, 0x10, 0xc000_0000);
    write(&mut pci, 1, 0x14, 3);
    let mut word = [0; 4];
    assert!(pci.read(0x3_c000_0000, &mut word), "above 4 GiB");
    assert!(!pci.read(0xfe01_0000, &mut word), "no longer here");
    assert!(!pci.read(0x3_c000_3ffe, &mut word), "only what lies within");
    write(&mut pci, 1, 4, 0);
    assert!(!pci.read(0x3_c000_0000, &mut word), "memory not decoded");
    let devices = Devices { console: ConsolePort::Virtio, entropy: true, ..Devices::default() };
    assert_eq!(pci.check(&devices), Ok(()));
    assert!(pci.check(&Devices::default()).is_err());
}

#[test]
fn parts_of_registers_are_written_alone() {
    let mut pci = bus();
    pci.set_address(1 << 31 | 1 << 11 | 4);
    pci.config_write(1, 1, 0x04);
    assert_eq!(pci.config_read(0, 2), 0x402, "interrupts off, memory still on");
    pci.set_address(1 << 31 | 1 << 11 | 0x3c);
    assert_eq!(pci.config_read(0, 2), 0x10b, "IRQ 11, INTA");
    pci.config_write(0, 1, 5);
    pci.config_write(1, 1, 5);
    assert_eq!(pci.config_read(0, 2), 0x105);
}
