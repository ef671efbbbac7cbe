//! ACPI tables (ACPI 6.4, chapter 5): what an operating system reads to find the interrupt controllers, the PCI bus, the
//! devices that cannot be probed, and the way to switch off.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, PackageBuilder,
    Path, ResourceTemplate, Scope,
};
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;

use crate::ClockMode;
use crate::bus::{IRQ_KEYBOARD, IRQ_PIT, IRQ_RTC, IRQ_SCI, IRQ_UART, PIN_PIT, RESET, UART};
use crate::config::MachineConfig;
use crate::dev::pci::LINES as PCI_IRQS;
use crate::dev::{ioapic, lapic, pm};

/// Where the root pointer is: in the area that every operating system searches. The tables follow it.
pub const RSDP: u64 = 0xe_0000;
/// End of what is reserved for tables.
pub const END: u64 = 0x10_0000;

const OEM: [u8; 6] = *b"FTEMU ";
const TABLE: [u8; 8] = *b"FTEMU   ";
const REVISION: u32 = 1;
/// Bytes in front of a table's own.
const HEADER_BYTES: u32 = 36;

/// The tables, for memory from [`RSDP`] on.
///
/// With the host's clock they do not name the power management timer: each read of a clock is a query then, and Linux would
/// make fifty thousand of them to see whether that timer works, which it never uses.
#[must_use]
pub fn tables(clock: ClockMode) -> Vec<u8> {
    let mut area = Area(vec![0; 64]);
    let dsdt = area.put(dsdt().as_slice());
    let facs = area.put(&bytes(&FACS::new()));
    let fadt = area.put(&bytes(&fadt(dsdt, facs, clock == ClockMode::Derived)));
    let madt = area.put(madt().as_slice());
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = area.put(&bytes(&xsdt));
    let rsdp = bytes(&Rsdp::new(OEM, xsdt));
    area.0[..rsdp.len()].copy_from_slice(&rsdp);
    area.0
}

/// What is put behind the root pointer.
struct Area(Vec<u8>);

impl Area {
    /// Appends a table on a boundary of 64 bytes (which the FACS wants); its address.
    fn put(&mut self, table: &[u8]) -> u64 {
        let at = self.0.len();
        self.0.extend(table);
        self.0.resize(self.0.len().next_multiple_of(64), 0);
        RSDP + at as u64
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// The fixed hardware: no SMI, always in ACPI mode.
fn fadt(dsdt: u64, facs: u64, has_timer: bool) -> acpi_tables::fadt::FADT {
    /// Legacy devices, an 8042, no VGA, no ASPM.
    const BOOT_ARCHITECTURE: u16 = 1 | 2 | 4 | 1 << 4;
    /// No C2, no C3.
    const NO_STATE: u16 = 0xffff;
    let port = |at: u16| u32::from(pm::PORT + at);
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_32(dsdt as u32)
        .firmware_ctrl_32(facs as u32)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    fadt.sci_int = u16::from(IRQ_SCI).into();
    fadt.pm1a_evt_blk = port(pm::EVENT).into();
    fadt.pm1a_cnt_blk = port(pm::CONTROL).into();
    (fadt.pm1_evt_len, fadt.pm1_cnt_len) = (4, 2);
    if has_timer {
        fadt.pm_tmr_blk = port(pm::TIMER).into();
        fadt.pm_tmr_len = 4;
    }
    (fadt.p_lvl2_lat, fadt.p_lvl3_lat) = (NO_STATE.into(), NO_STATE.into());
    fadt.century = 0x32;
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = GAS::new(Space::SystemIo, 8, 0, AccessSize::ByteAccess, RESET.into());
    fadt.reset_value = 0x06;
    fadt.finalize()
}

/// One processor, one I/O APIC, and the lines that are not as ISA's are: IRQ 0 on another pin, the SCI and PCI's lines levels.
fn madt() -> Sdt {
    /// A pair of 8259s, too.
    const PC_COMPATIBLE: u32 = 1;
    const ENABLED: u32 = 1;
    const LEVEL_HIGH: u16 = 0b1101;
    const LEVEL_LOW: u16 = 0b1111;
    let mut madt = Sdt::new(*b"APIC", HEADER_BYTES, 4, OEM, TABLE, REVISION);
    madt.append_slice(&(lapic::ADDRESS as u32).to_le_bytes());
    madt.append_slice(&PC_COMPATIBLE.to_le_bytes());
    // Processor 0 has local APIC 0.
    madt.append_slice(&[[0, 8, 0, 0], ENABLED.to_le_bytes()].concat());
    // I/O APIC 0, whose pins begin with global interrupt 0.
    madt.append_slice(&[[1, 12, 0, 0], (ioapic::ADDRESS as u32).to_le_bytes(), [0; 4]].concat());
    let lines = [(IRQ_PIT, PIN_PIT, 0), (IRQ_SCI, IRQ_SCI, LEVEL_HIGH)];
    for (irq, pin, flags) in lines.into_iter().chain(PCI_IRQS.map(|irq| (irq, irq, LEVEL_LOW))) {
        let [low, high] = flags.to_le_bytes();
        madt.append_slice(&[2, 10, 0, irq, pin, 0, 0, 0, low, high]);
    }
    // LINT1 of every processor is NMI.
    madt.append_slice(&[4, 6, 0xff, 0, 0, 1]);
    madt
}

/// The devices, and `\_S5`.
fn dsdt() -> Sdt {
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_BYTES, 2, OEM, TABLE, REVISION);
    let off = Package::new(vec![&pm::SLEEP_OFF, &pm::SLEEP_OFF, &0u8, &0u8]);
    dsdt.append_slice(&bytes(&Name::new(Path::new("_S5_"), &off)));
    let pci = pci_bus();
    let devices = [
        isa_device("COM1", "PNP0501", &[(UART, 8)], Some(IRQ_UART)),
        isa_device("RTC_", "PNP0B00", &[(0x70, 2)], Some(IRQ_RTC)),
        isa_device("KBD_", "PNP0303", &[(0x60, 1), (0x64, 1)], Some(IRQ_KEYBOARD)),
        isa_device("PM__", "PNP0C02", &[(pm::PORT, pm::PORTS as u8)], None),
        apics(),
    ];
    let children: Vec<Raw> = std::iter::once(pci).chain(devices).map(Raw).collect();
    let children = children.iter().map(|child| child as &dyn Aml).collect();
    dsdt.append_slice(&bytes(&Scope::new(Path::new("_SB_"), children)));
    dsdt
}

/// Finished AML.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

fn device(name: &str, hid: &str, resources: Vec<&dyn Aml>, others: Vec<&dyn Aml>) -> Vec<u8> {
    let hid = Name::new(Path::new("_HID"), &EISAName::new(hid));
    let resources = Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources));
    let mut children: Vec<&dyn Aml> = vec![&hid, &resources];
    children.extend(others);
    bytes(&Device::new(Path::new(name), children))
}

fn isa_device(name: &str, hid: &str, ports: &[(u16, u8)], irq: Option<u8>) -> Vec<u8> {
    let ports: Vec<IO> = ports.iter().map(|&(port, count)| IO::new(port, port, 1, count)).collect();
    let irq = irq.map(|irq| Interrupt::new(true, true, false, false, irq.into()));
    let ports = ports.iter().map(|ports| ports as &dyn Aml);
    device(name, hid, ports.chain(irq.iter().map(|irq| irq as &dyn Aml)).collect(), vec![])
}

/// Memory of the interrupt controllers, which is nobody else's.
fn apics() -> Vec<u8> {
    const BYTES: u32 = 0x1000;
    let [io, local] = [ioapic::ADDRESS, lapic::ADDRESS].map(|at| Memory32Fixed::new(true, at as u32, BYTES));
    device("APIC", "PNP0C02", vec![&io, &local], vec![&Name::new(Path::new("_UID"), &1u8)])
}

/// The PCI bus: what addresses it decodes, and where the lines of its slots lead.
fn pci_bus() -> Vec<u8> {
    const CONFIGURATION: u16 = 0xcf8;
    let bus = AddressSpace::new_bus_number(0u16, 0u16);
    let configuration = IO::new(CONFIGURATION, CONFIGURATION, 1, 8);
    let low = AddressSpace::new_io(0u16, CONFIGURATION - 1, None);
    let high = AddressSpace::new_io(CONFIGURATION + 8, u16::MAX, None);
    // From where RAM ends at the latest to the interrupt controllers.
    let (first, last) = (MachineConfig::MEMORY_BYTES_MAX as u32, ioapic::ADDRESS as u32 - 1);
    let memory = AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None);
    let mut routes = PackageBuilder::new();
    for slot in 0..32u32 {
        // Any function of the slot, INTA, not through a link device, this global interrupt.
        let irq = PCI_IRQS[slot as usize % PCI_IRQS.len()];
        routes.add_element(&Package::new(vec![&(slot << 16 | 0xffff), &0u8, &0u8, &irq]));
    }
    let routes = Name::new(Path::new("_PRT"), &routes);
    let uid = Name::new(Path::new("_UID"), &0u8);
    device("PCI0", "PNP0A03", vec![&bus, &configuration, &low, &high, &memory], vec![&uid, &routes])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(tables: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(tables[at..at + 8].try_into().unwrap())
    }

    /// A table by its address, whose bytes must have the sum 0.
    fn table(tables: &[u8], address: u64) -> &[u8] {
        let rest = &tables[(address - RSDP) as usize..];
        let table = &rest[..word(rest, 4) as u32 as usize];
        assert_eq!(table.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)), 0, "{:?}", &table[..4]);
        table
    }

    #[test]
    fn everything_is_found_from_the_root_pointer() {
        let tables = tables(ClockMode::Derived);
        assert!(RSDP + tables.len() as u64 <= END);
        assert!(tables.starts_with(b"RSD PTR "));
        let xsdt = table(&tables, word(&tables, 24));
        assert_eq!(xsdt.len(), HEADER_BYTES as usize + 16);
        let fadt = table(&tables, word(xsdt, 36));
        let madt = table(&tables, word(xsdt, 44));
        assert_eq!((&fadt[..4], &madt[..4]), (&b"FACP"[..], &b"APIC"[..]));
        let address = |at: usize| u64::from(word(fadt, at) as u32);
        assert!(table(&tables, address(40)).starts_with(b"DSDT"));
        let facs = address(36);
        assert_eq!(facs % 64, 0);
        assert!(tables[(facs - RSDP) as usize..].starts_with(b"FACS"));
        assert_eq!((address(56), address(64), address(76)), (0x600, 0x604, 0x608));
        assert_eq!((&fadt[116..128], fadt[128]), (&[1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0][..], 6));
    }

    #[test]
    fn lines_that_are_not_as_isa_has_them() {
        let madt = madt();
        let overrides: Vec<&[u8]> = madt.as_slice()[64..].chunks(10).take(4).collect();
        assert_eq!(overrides[0], [2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        assert_eq!(overrides[1], [2, 10, 0, 9, 9, 0, 0, 0, 13, 0]);
        assert_eq!(overrides[3], [2, 10, 0, 11, 11, 0, 0, 0, 15, 0]);
    }
}
