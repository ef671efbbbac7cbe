//! The arbiter on shared storage: one file for each generation, created exclusively (`O_CREAT | O_EXCL`, atomic also on
//! NFS since version 3), never removed while the run lasts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use super::Arbiter;
use crate::proto::arbitration::Answer;
use crate::shared::Shared;

/// Claims are files `generation-<instance>-<n>` in the shared directory of a run.
#[derive(Debug)]
pub struct FileArbiter {
    shared: Shared,
    instance: u64,
    replica: u64,
    /// For people who look into the file.
    about: String,
    /// Generations whose file this process has created.
    won: Vec<u64>,
    /// Generations whose creation failed in a way that leaves open whether the file was created.
    in_doubt: Vec<u64>,
}

impl FileArbiter {
    /// The arbiter of run `instance` for `replica`; `about` says in words where that one runs.
    #[must_use]
    pub fn new(shared: Shared, instance: u64, replica: u64, about: String) -> Self {
        Self { shared, instance, replica, about, won: Vec::new(), in_doubt: Vec::new() }
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.shared.generation_path(self.instance, generation)
    }

    /// The storage is there and still that of our run, with its history: somebody must have served `generation - 1`.
    fn check(&self, generation: u64) -> Result<(), Answer> {
        match self.shared.instance() {
            Ok(Some(instance)) if instance == self.instance => {}
            Ok(Some(other)) => {
                return Err(unreachable(format!("the shared directory belongs to run {other:016x} now")));
            }
            Ok(None) => return Err(unreachable("the shared directory has lost its run")),
            Err(error) => return Err(unreachable(error)),
        }
        if generation > 1 && !self.path(generation - 1).try_exists().unwrap_or(false) {
            return Err(unreachable(format!("the shared directory has lost generation {}", generation - 1)));
        }
        Ok(())
    }

    fn create(&self, generation: u64) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(self.path(generation))
    }

    /// The text of a claim begins with the id of its owner.
    fn text(&self) -> String {
        format!("replica {:016x}\n{}\n", self.replica, self.about)
    }

    fn judge(&self, generation: u64) -> Answer {
        match fs::read_to_string(self.path(generation)) {
            Ok(text) if text.lines().next() == self.text().lines().next() => Answer::Won,
            Ok(text) if text.is_empty() && self.in_doubt.contains(&generation) => {
                unreachable("the claim exists, but nobody can tell whose it is")
            }
            Ok(text) if text.is_empty() => Answer::Held { holder: "a replica that died while claiming".to_owned() },
            Ok(text) => Answer::Held { holder: text.lines().collect::<Vec<_>>().join(", ") },
            Err(error) => unreachable(error),
        }
    }

    /// The claim is won already; its text is for people, and for ourselves should an error have hidden the success.
    fn sign(&self, mut file: File) {
        let signed = file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all());
        if signed.is_ok() {
            self.shared.sync();
        }
    }
}

impl Arbiter for FileArbiter {
    fn claim(&mut self, generation: u64) -> Answer {
        if self.won.contains(&generation) {
            return Answer::Won;
        }
        if let Err(answer) = self.check(generation) {
            return answer;
        }
        match self.create(generation) {
            Ok(file) => {
                self.won.push(generation);
                self.sign(file);
                Answer::Won
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.judge(generation),
            Err(error) => {
                self.in_doubt.push(generation);
                unreachable(error)
            }
        }
    }

    fn exists(&mut self, generation: u64) -> Answer {
        if let Err(answer) = self.check(generation) {
            return answer;
        }
        match self.path(generation).try_exists() {
            Ok(false) => Answer::Free,
            Ok(true) => self.judge(generation),
            Err(error) => unreachable(error),
        }
    }
}

fn unreachable(reason: impl ToString) -> Answer {
    Answer::Unreachable { reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Shared) {
        let root = tempfile::tempdir().unwrap();
        let shared = Shared::open(root.path(), "t").unwrap();
        let _alive = shared.begin_run(5, 1).unwrap();
        (root, shared)
    }

    fn arbiter(shared: &Shared, replica: u64) -> FileArbiter {
        FileArbiter::new(shared.clone(), 5, replica, "on a test host".to_owned())
    }

    #[test]
    fn one_wins_and_it_stays_so() {
        let (_root, shared) = store();
        let (mut one, mut two) = (arbiter(&shared, 1), arbiter(&shared, 2));
        assert_eq!(one.claim(1), Answer::Won);
        assert_eq!(one.exists(2), Answer::Free);
        assert_eq!(two.claim(2), Answer::Won);
        let Answer::Held { holder } = one.claim(2) else { panic!("two winners") };
        assert_eq!(holder, "replica 0000000000000002, on a test host");
        assert!(matches!(one.exists(2), Answer::Held { .. }));
        assert_eq!(two.claim(2), Answer::Won);
        assert_eq!(arbiter(&shared, 2).claim(2), Answer::Won, "the file says whose it is");
    }

    #[test]
    fn many_at_once_have_one_winner() {
        let (_root, shared) = store();
        assert_eq!(arbiter(&shared, 0).claim(1), Answer::Won);
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..9)
                .map(|replica| {
                    let shared = shared.clone();
                    scope.spawn(move || arbiter(&shared, replica).claim(2))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|&answer| *answer == Answer::Won).count(), 1, "{answers:?}");
    }

    #[test]
    fn a_store_that_is_gone_or_another_decides_nothing() {
        let (root, shared) = store();
        let mut one = arbiter(&shared, 1);
        assert_eq!(one.claim(1), Answer::Won);
        let (dir, away) = (root.path().join("t"), root.path().join("away"));
        fs::rename(&dir, &away).unwrap();
        assert!(matches!(one.claim(2), Answer::Unreachable { .. }));
        assert!(matches!(one.exists(2), Answer::Unreachable { .. }));
        fs::rename(&away, &dir).unwrap();
        assert_eq!(one.exists(2), Answer::Free);
        fs::write(dir.join("instance"), format!("{:016x}\n", 6)).unwrap();
        assert!(matches!(one.claim(2), Answer::Unreachable { .. }));
        fs::write(dir.join("instance"), format!("{:016x}\n", 5)).unwrap();
        fs::remove_file(shared.generation_path(5, 1)).unwrap();
        assert!(matches!(one.claim(2), Answer::Unreachable { .. }), "history is missing");
    }

    #[test]
    fn a_claimant_that_died_before_signing_holds_it_all_the_same() {
        let (_root, shared) = store();
        let mut one = arbiter(&shared, 1);
        assert_eq!(one.claim(1), Answer::Won);
        fs::write(shared.generation_path(5, 2), "").unwrap();
        assert!(matches!(one.claim(2), Answer::Held { .. }));
        one.in_doubt.push(2);
        assert!(matches!(one.claim(2), Answer::Unreachable { .. }));
    }
}
