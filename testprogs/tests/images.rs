//! The committed images are what the sources say.

use std::path::Path;
use std::process::Command;

/// Says what was not checked, where a reader of the test's output sees it.
fn not_compared(why: &str) {
    eprintln!("NOT COMPARED: testprogs/images against their sources: {why}");
}

fn make(arguments: &[String]) -> Result<(), String> {
    let output = Command::new("make")
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .map_err(|error| format!("make does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "make failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn present(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn every_image_is_embedded_under_its_name() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let mut files: Vec<String> = std::fs::read_dir(&images)
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()?
                .strip_suffix(".elf")
                .map(str::to_owned)
        })
        .collect();
    let mut names: Vec<String> = testprogs::all()
        .iter()
        .map(|guest| guest.name.to_owned())
        .collect();
    files.sort();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn every_image_is_a_small_static_elf64_at_1_mib() {
    for guest in testprogs::all() {
        let image = guest.image;
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        assert_eq!(&image[..5], b"\x7fELF\x02", "{}: ELF64", guest.name);
        assert_eq!(
            &image[16..20],
            [2, 0, 62, 0],
            "{}: ET_EXEC for x86-64",
            guest.name
        );
        assert!(
            (0x10_0000..0x20_0000).contains(&word(24)),
            "{}: entry {:#x}",
            guest.name,
            word(24)
        );
        assert!(
            image.len() < 64 << 10,
            "{}: {} bytes",
            guest.name,
            image.len()
        );
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
    let arguments = [
        format!("OUT={}", out.display()),
        format!("BUILD={}", build.display()),
    ];
    if let Err(why) = make(&arguments) {
        // A compiler for another architecture is no reason to fail; one for ours is.
        assert!(!cfg!(target_arch = "x86_64"), "{why}");
        return not_compared("the compiler here is not one for x86-64");
    }
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
    if read(&out, "BUILT_WITH") != read(&committed, "BUILT_WITH") {
        return not_compared("they build, but the tools differ from images/BUILT_WITH");
    }
    for guest in testprogs::all() {
        let file = format!("{}.elf", guest.name);
        assert!(
            read(&out, &file) == guest.image,
            "images/{file} is not what its source says: run make -C testprogs and commit the images"
        );
    }
}
