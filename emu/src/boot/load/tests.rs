//! Kernels of a few instructions, entered in each way, by a machine.

use std::ops::ControlFlow;

use super::*;
use crate::{ClockMode, CpuModel, Door, Machine, MachineConfig, Output, Position, Power, Query, Stop, Until};

const MEMORY: u64 = 64 << 20;
const ADDRESS: u64 = 16 << 20;

/// Nobody asks.
struct Silent;

impl Door for Silent {
    fn query(&mut self, _at: Position, _query: Query) -> Option<u64> {
        Some(0)
    }

    fn output(&mut self, _at: Position, _number: u64, _output: Output) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn interrupt(&mut self, _at: Position, _vector: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Boots it and runs it to its end.
fn exit_code(image: &[u8], modules: &[Module<'_>], protocol: Option<Protocol>) -> Result<u8, BootError> {
    let config = MachineConfig {
        memory_bytes: MEMORY,
        clock: ClockMode::Host,
        epoch_s: 0,
        cpu: CpuModel::V3,
        devices: Default::default(),
    };
    let mut machine = Machine::new(config).unwrap();
    machine.load_kernel(&Boot { image, modules, command_line: "", protocol })?;
    match machine.run(Until::About(1000), &mut Silent) {
        Stop::Off(Power::Off { code }) => Ok(code),
        stop => panic!("{stop:?} at {}", machine.position()),
    }
}

/// `mov al, code; out 0xf4, al` in any mode; the exit code is `code << 1 | 1`.
fn exit_with(code: u8) -> [u8; 4] {
    [0xb0, code, 0xe6, 0xf4]
}

/// An ELF64 at [`ADDRESS`] whose PVH entry is 8 bytes above its entry.
fn vmlinux(code: &[u8]) -> Vec<u8> {
    let note = [&b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0"[..], &(ADDRESS + 8).to_le_bytes()].concat();
    let contents = 64 + 2 * 56;
    let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    image.extend([ADDRESS, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    image.extend([0, 0, 64, 56, 2, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    for (kind, offset, bytes) in [(1, contents + note.len(), code.len()), (4, contents, note.len())] {
        image.extend(u32::to_le_bytes(kind));
        image.extend(7u32.to_le_bytes());
        let fields = [offset as u64, 0xffff_ffff_8000_0000, ADDRESS, bytes as u64, bytes as u64, 8];
        image.extend(fields.into_iter().flat_map(u64::to_le_bytes));
    }
    [&image, &note[..], code].concat()
}

/// A bzImage of two sectors of setup and `code`, whose payload is what follows byte 0x210 of it.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut code = vec![0; 0x210];
    code[..4].copy_from_slice(&exit_with(1));
    code[0x200..0x204].copy_from_slice(&exit_with(2));
    code.extend(payload);
    code.resize(code.len().next_multiple_of(16), 0);
    let mut image = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &(code.len() as u32 / 16).to_le_bytes());
    put(0x201, b"\x6aHdrS\x0f\x02");
    put(0x211, &[1]);
    put(0x22c, &u32::MAX.to_le_bytes());
    put(0x236, &[3]);
    put(0x238, &2047u32.to_le_bytes());
    put(0x248, &0x210u32.to_le_bytes());
    put(0x24c, &(payload.len() as u32).to_le_bytes());
    put(0x258, &ADDRESS.to_le_bytes());
    put(0x260, &(1u32 << 20).to_le_bytes());
    image.extend(code);
    image
}

/// An LZ4 payload of literals.
fn packed(content: &[u8]) -> Vec<u8> {
    let block = lz4_flex::block::compress(content);
    let (size, block_bytes) = (content.len() as u32, block.len() as u32);
    [&0x184c_2102u32.to_le_bytes()[..], &block_bytes.to_le_bytes(), &block, &size.to_le_bytes()].concat()
}

/// Wrong code at the entry, the right one 8 bytes above.
fn pvh_code(code: &[u8]) -> Vec<u8> {
    [&exit_with(99)[..], &[0; 4], code].concat()
}

#[test]
fn a_vmlinux_is_entered_by_pvh() {
    let image = vmlinux(&pvh_code(&exit_with(3)));
    assert_eq!(ImageKind::of(&image), ImageKind::Pvh);
    assert_eq!(exit_code(&image, &[], None), Ok(7));
    // mov eax, [ebx]; cmp eax, 0x336ec578; setne al; out 0xf4, al
    let magic = pvh_code(b"\x8b\x03\x3d\x78\xc5\x6e\x33\x0f\x95\xc0\xe6\xf4");
    assert_eq!(exit_code(&vmlinux(&magic), &[], Some(Protocol::Pvh)), Ok(1));
    // The end of the RAM disk: mov eax, [ebx + 16]; mov ecx, [eax]; mov al, [ecx + 2]; out 0xf4, al
    let disk = pvh_code(b"\x8b\x43\x10\x8b\x08\x8a\x41\x02\xe6\xf4");
    let modules = [Module { bytes: &[1, 2, 5], command_line: "" }];
    assert_eq!(exit_code(&vmlinux(&disk), &modules, None), Ok(11));
}

#[test]
fn a_bzimage_is_unpacked_and_entered_by_pvh() {
    let image = bzimage(&packed(&vmlinux(&pvh_code(&exit_with(3)))));
    assert_eq!(ImageKind::of(&image), ImageKind::BzImage);
    assert_eq!(exit_code(&image, &[], None), Ok(7));
    assert_eq!(exit_code(&image, &[], Some(Protocol::Pvh)), Ok(7));
}

#[test]
fn a_bzimage_is_entered_by_its_own_protocol() {
    let mut image = bzimage(&packed(&vmlinux(&pvh_code(&exit_with(3)))));
    assert_eq!(exit_code(&image, &[], Some(Protocol::Linux)), Ok(5), "the 64-bit entry");
    image[0x236] = 0;
    assert_eq!(exit_code(&image, &[], Some(Protocol::Linux)), Ok(3), "the 32-bit entry");
}

#[test]
fn what_we_cannot_unpack_unpacks_itself() {
    for payload in [&b""[..], b"BZh91AY&SY", b"strange!", &packed(b"no ELF"), &packed(&without_note())] {
        assert_eq!(exit_code(&bzimage(payload), &[], None), Ok(5), "{payload:x?}");
        assert!(exit_code(&bzimage(payload), &[], Some(Protocol::Pvh)).is_err(), "{payload:x?}");
    }
}

fn without_note() -> Vec<u8> {
    let mut image = vmlinux(&pvh_code(&exit_with(3)));
    image[64 + 2 * 56 + 8] = 0x13;
    image
}

#[test]
fn damage_is_no_reason_to_try_otherwise() {
    let payload = packed(&vmlinux(&pvh_code(&exit_with(3))));
    let mut cut = bzimage(&payload);
    cut.truncate(cut.len() - 16);
    assert!(matches!(exit_code(&cut, &[], None), Err(BootError::Linux(LinuxError::Truncated { .. }))));
    let mut longer = bzimage(&payload);
    longer[0x24c + 1] = 0xff;
    assert!(matches!(exit_code(&longer, &[], None), Err(BootError::Unpack(UnpackError::Outside { .. }))));
    let short = bzimage(&payload[..payload.len() / 2]);
    let error = exit_code(&short, &[], None).unwrap_err();
    assert!(matches!(error, BootError::Unpack(_)), "{error}");
}

#[test]
fn what_an_image_does_not_have_is_said() {
    let refused = |image: &[u8], protocol| exit_code(image, &[], Some(protocol)).unwrap_err().to_string();
    let image = vmlinux(&pvh_code(&exit_with(3)));
    assert!(refused(&image, Protocol::Linux).contains("not a bzImage"));
    assert!(refused(&image, Protocol::Multiboot).contains("no Multiboot header"));
    assert!(refused(&without_note(), Protocol::Pvh).contains("no PVH entry"));
    assert!(refused(b"\x01\x02", Protocol::Pvh).contains("not an ELF"));
    assert_eq!(ImageKind::of(&without_note()), ImageKind::Other);
}
