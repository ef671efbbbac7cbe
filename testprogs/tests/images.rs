//! The committed images are what the sources say.

use std::path::Path;
use std::process::Command;

/// Says what was not checked, where a reader of the test's output sees it.
fn not_compared(why: &str) {
    eprintln!("NOT COMPARED: testprogs/images against their sources: {why}");
}

fn make(folder: &Path, arguments: &[String]) -> Result<(), String> {
    let output = Command::new("make")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output()
        .map_err(|error| format!("make does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("make failed:\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Where gcc and ld certainly make guests.
const LINUX_X86_64: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// Elsewhere `gcc` may be a compiler for another processor or file format.
fn may_fail_to_build() -> bool {
    !LINUX_X86_64
}

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn present(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Name and image of every guest, and of the kernel for other people's programs.
fn guests_embedded() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let guests = testprogs::all().iter().map(|guest| (guest.name, guest.image));
    guests.chain([("userland", testprogs::userland::KERNEL)])
}

/// The same with what is started otherwise.
fn images_embedded() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    guests_embedded().chain([("multiboot", testprogs::MULTIBOOT), ("linux-init", testprogs::linux::INIT)])
}

#[test]
fn every_image_is_embedded_under_its_name() {
    let images = sources().join("images");
    let mut files: Vec<String> = std::fs::read_dir(&images)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".elf").map(str::to_owned))
        .collect();
    let mut names: Vec<String> = images_embedded().map(|(name, _)| name.to_owned()).collect();
    files.sort();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn every_guest_is_a_small_static_elf64_at_1_mib() {
    for (name, image) in guests_embedded() {
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        assert_eq!(&image[..5], b"\x7fELF\x02", "{}: ELF64", name);
        assert_eq!(&image[16..20], [2, 0, 62, 0], "{}: ET_EXEC for x86-64", name);
        assert!((0x10_0000..0x20_0000).contains(&word(24)), "{}: entry {:#x}", name, word(24));
        assert!(image.len() < 64 << 10, "{}: {} bytes", name, image.len());
    }
}

#[test]
fn images_are_rebuilt_byte_for_byte() {
    if !(cfg!(unix) && present("make") && present("gcc")) {
        return not_compared("no make and gcc here");
    }
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("images");
    let build = scratch.path().join("build");
    let arguments = [format!("OUT={}", out.display()), format!("BUILD={}", build.display())];
    if let Err(why) = make(sources(), &arguments) {
        assert!(may_fail_to_build(), "{why}");
        return not_compared("the tools here do not make x86-64 ELF files");
    }
    let committed = sources().join("images");
    let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
    if read(&out, "BUILT_WITH") != read(&committed, "BUILT_WITH") {
        return not_compared("they build, but the tools differ from images/BUILT_WITH");
    }
    for (name, image) in images_embedded() {
        let file = format!("{name}.elf");
        assert!(
            read(&out, &file) == image,
            "images/{file} is not what its source says: run make -C testprogs and commit the images"
        );
    }
}

#[test]
fn the_template_builds_outside_of_the_tree() {
    if !(LINUX_X86_64 && present("make") && present("gcc")) {
        return not_compared("no make and gcc here, template/ is not built");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    for file in ["Makefile", "hello.c"] {
        std::fs::copy(sources().join("template").join(file), elsewhere.path().join(file)).unwrap();
    }
    let makefile = std::fs::read_to_string(elsewhere.path().join("Makefile")).unwrap();
    assert!(makefile.lines().count() <= 10, "docs/guests.md promises ten lines");
    let ftemu = format!("FTEMU={}", sources().parent().unwrap().display());
    make(elsewhere.path(), &[ftemu]).unwrap();
    let image = std::fs::read(elsewhere.path().join("hello.elf")).unwrap();
    assert_eq!(&image[..5], b"\x7fELF\x02");
}

/// Whether this CPU has the instructions that a kernel asks for beyond the baseline.
fn host_can_run(kernel: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    match kernel {
        "aesgcm" => return is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq"),
        "shani" => return is_x86_feature_detected!("sha"),
        _ => {}
    }
    let _ = kernel;
    true
}

/// The checksums of `KERNELS` are what the same object files say on the host, where it can run them.
#[test]
fn kernels_say_the_same_on_the_host() {
    if !(LINUX_X86_64 && present("make") && present("gcc")) {
        return not_compared("this host cannot build and run the kernels natively");
    }
    let scratch = tempfile::tempdir().unwrap();
    make(sources(), &["native".to_owned(), format!("BUILD={}", scratch.path().display())]).unwrap();
    for (name, checksum) in testprogs::KERNELS {
        if !host_can_run(name) {
            not_compared(&format!("{name}: this CPU lacks its instructions"));
            continue;
        }
        let cmdline = testprogs::find(name).unwrap().default_cmdline;
        let rounds = cmdline.strip_prefix("n=").unwrap();
        let program = scratch.path().join("native").join(name);
        let output = Command::new(program).arg(rounds).output().unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        assert_eq!(line, format!("{name} {cmdline} checksum={checksum:016x}\n"));
    }
}
