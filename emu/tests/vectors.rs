//! Instructions as a real CPU executed them: `vectors/*.txt`, made by `hwdiff --emit-vectors`, true on every host.

use hwdiff::emulated::Emulated;
use hwdiff::vectors::check;

#[test]
fn instructions_do_what_silicon_did() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no vectors in {directory}");
    let mut emulated = Emulated::new(true);
    let mut wrong = Vec::new();
    for file in files {
        let (count, bad) = check(&std::fs::read_to_string(&file).unwrap(), &mut emulated);
        let name = file.file_name().unwrap().display().to_string();
        assert!(count > 0, "{name} is empty");
        wrong.extend(bad.iter().take(5).map(|text| format!("{name} {text}")));
        wrong.extend((bad.len() > 5).then(|| format!("{name}: {} wrong of {count}", bad.len())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
