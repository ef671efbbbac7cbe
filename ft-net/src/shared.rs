//! The shared directory of a run (ARCHITECTURE.md, "The shared directory"): how replicas and clients find each other, and
//! where the console of record is.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use emu::Power;

/// The directory `<root>/<name>`.
#[derive(Clone, Debug)]
pub struct Shared {
    dir: PathBuf,
}

/// Something about the shared directory that does not work.
#[derive(Debug)]
pub enum SharedError {
    /// The name of a run must be usable as the name of a directory.
    Name {
        /// The name.
        name: String,
    },
    /// A file or directory cannot be used.
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the host says.
        error: io::Error,
    },
    /// A file is not what it should be.
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// A replica of this name lives.
    Running {
        /// Its id.
        replica: u64,
    },
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SharedError::Name { name } => {
                write!(f, "{name:?} cannot be the name of a run: use letters, digits, '-', '_' and '.'")
            }
            SharedError::Io { doing, path, error } => {
                write!(f, "cannot {doing} {}: {error}", path.display())
            }
            SharedError::Malformed { path } => write!(f, "{} is damaged", path.display()),
            SharedError::Running { replica } => write!(
                f,
                "replica {replica:016x} of this run is alive: start a backup instead, stop it, or choose another --name"
            ),
        }
    }
}

impl std::error::Error for SharedError {}

/// Whoever holds this lives. Let go by the host when the process dies, however it does.
#[derive(Debug)]
pub struct Alive {
    _lock: File,
    path: PathBuf,
}

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // A stale one does no harm: its lock is gone.
    }
}

/// Who serves and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingAt {
    /// Id of the run.
    pub instance: u64,
    /// Id of the replica.
    pub replica: u64,
    /// The generation it serves.
    pub generation: u64,
    /// Where it listens, `host:port`.
    pub address: String,
}

impl Shared {
    /// Opens `<root>/<name>`, creating it if it is missing.
    ///
    /// # Errors
    /// If the name is no name or the directory cannot be created.
    pub fn open(root: &Path, name: &str) -> Result<Self, SharedError> {
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(usable) {
            return Err(SharedError::Name { name: name.to_owned() });
        }
        let dir = root.join(name);
        fs::create_dir_all(&dir).map_err(io_error("create the shared directory", &dir))?;
        Ok(Self { dir })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The console of record.
    #[must_use]
    pub fn console_path(&self) -> PathBuf {
        self.dir.join("console")
    }

    /// How the guest ended, once that is out.
    #[must_use]
    pub fn power_path(&self) -> PathBuf {
        self.dir.join("power")
    }

    /// How the guest ended; `None`: it has not, as far as anybody was told.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn power(&self) -> Result<Option<Power>, SharedError> {
        let path = self.power_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) if text.ends_with('\n') => text,
            Ok(_) => return Ok(None), // It is being written.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        parse_power(&text).map(Some).ok_or(SharedError::Malformed { path })
    }

    /// The claim of a generation.
    #[must_use]
    pub fn generation_path(&self, instance: u64, generation: u64) -> PathBuf {
        self.dir.join(format!("generation-{instance:016x}-{generation}"))
    }

    /// Id of the current run; `None`: there is none, or its storage is not there.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn instance(&self) -> Result<Option<u64>, SharedError> {
        let path = self.dir.join("instance");
        match fs::read_to_string(&path) {
            Ok(text) => match u64::from_str_radix(text.trim(), 16) {
                Ok(instance) => Ok(Some(instance)),
                Err(_) => Err(SharedError::Malformed { path }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Begins run `instance` with `replica` as its first primary: the record of the run before is kept as
    /// `console.previous`, its other files are removed.
    ///
    /// # Errors
    /// [`SharedError::Running`] if a replica lives that has a machine of this name; else if the directory is not writable.
    pub fn begin_run(&self, instance: u64, replica: u64) -> Result<Alive, SharedError> {
        let starting = self.lock_start()?;
        if let Some(&replica) = self.living()?.first() {
            return Err(SharedError::Running { replica });
        }
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("generation-") || name.starts_with("alive-") || name == "serving" || name == "power" {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        let console = self.console_path();
        match fs::rename(&console, self.dir.join("console.previous")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_error("rename", &console)(error));
            }
            _ => {}
        }
        File::create(&console).map_err(io_error("create", &console))?;
        self.replace("instance", &format!("{instance:016x}\n"))?;
        let alive = self.lock_alive(replica)?;
        drop(starting);
        Ok(alive)
    }

    /// Says that `replica`, a backup, has a machine of this run.
    ///
    /// # Errors
    /// If the directory is not writable.
    pub fn announce(&self, replica: u64) -> Result<Alive, SharedError> {
        let _starting = self.lock_start()?;
        self.lock_alive(replica)
    }

    fn lock_start(&self) -> Result<File, SharedError> {
        let path = self.dir.join("start");
        let file = File::create(&path).map_err(io_error("create", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(file)
    }

    fn lock_alive(&self, replica: u64) -> Result<Alive, SharedError> {
        let path = self.dir.join(format!("alive-{replica:016x}"));
        let file = File::create(&path).map_err(io_error("create", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(Alive { _lock: file, path })
    }

    /// The replicas that live and have a machine.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn living(&self) -> Result<Vec<u64>, SharedError> {
        let mut living = Vec::new();
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(Ok(replica)) = name.strip_prefix("alive-").map(|id| u64::from_str_radix(id, 16)) else {
                continue;
            };
            match File::open(&path).map(|file| file.try_lock()) {
                Ok(Err(TryLockError::WouldBlock)) => living.push(replica),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("open", &path)(error)),
            }
        }
        Ok(living)
    }

    /// The claims of run `instance`, oldest first: (generation, who).
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn generations(&self, instance: u64) -> Result<Vec<(u64, String)>, SharedError> {
        let prefix = format!("generation-{instance:016x}-");
        let mut claims: Vec<(u64, String)> = Vec::new();
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(Ok(generation)) = name.strip_prefix(&prefix).map(str::parse) {
                let text = fs::read_to_string(&path).unwrap_or_default();
                claims.push((generation, text.lines().collect::<Vec<_>>().join(", ")));
            }
        }
        claims.sort();
        Ok(claims)
    }

    /// Tells backups and clients who serves now.
    ///
    /// # Errors
    /// If the directory is not writable.
    pub fn publish(&self, at: &ServingAt) -> Result<(), SharedError> {
        let text = format!("{:016x} {:016x} {} {}\n", at.instance, at.replica, at.generation, at.address);
        self.replace("serving", &text)
    }

    /// Who serves, as far as is known; it may have died since.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn serving(&self) -> Result<Option<ServingAt>, SharedError> {
        let path = self.dir.join("serving");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        parse_serving(&text).map(Some).ok_or(SharedError::Malformed { path })
    }

    /// Takes back what [`Self::publish`] said, if it was said by `replica`.
    pub fn retract(&self, replica: u64) {
        if let Ok(Some(at)) = self.serving()
            && at.replica == replica
        {
            let _ = fs::remove_file(self.dir.join("serving")); // It would only make clients knock in vain.
        }
    }

    fn files(&self) -> Result<Vec<PathBuf>, SharedError> {
        let list = || fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        let mut files = list().map_err(io_error("read the shared directory", &self.dir))?;
        files.sort();
        Ok(files)
    }

    /// Replaces a file as a whole: readers see the old text or the new.
    fn replace(&self, name: &str, text: &str) -> Result<(), SharedError> {
        let path = self.dir.join(name);
        let new = self.dir.join(format!("{name}.{}", std::process::id()));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(io_error("write", &path))?;
        self.sync();
        Ok(())
    }

    /// Makes new names in the directory survive a crash of the host, where the host can.
    pub(crate) fn sync(&self) {
        #[cfg(unix)]
        if let Ok(dir) = File::open(&self.dir) {
            let _ = dir.sync_all(); // Not all file systems can, and none needs it while the host lives.
        }
    }
}

/// The text of the file that says how the guest ended. The same from every replica, so that it may be written again.
pub(crate) fn power_text(power: Power) -> String {
    match power {
        Power::Off { code } => format!("off {code}\n"),
        Power::TripleFault => "triple-fault\n".to_owned(),
        Power::Dead => "dead\n".to_owned(),
        Power::Reset => "reset\n".to_owned(),
    }
}

fn parse_power(text: &str) -> Option<Power> {
    match text.trim_end() {
        "triple-fault" => Some(Power::TripleFault),
        "dead" => Some(Power::Dead),
        "reset" => Some(Power::Reset),
        text => Some(Power::Off { code: text.strip_prefix("off ")?.parse().ok()? }),
    }
}

fn parse_serving(text: &str) -> Option<ServingAt> {
    let mut words = text.split_ascii_whitespace();
    let mut hex = || u64::from_str_radix(words.next()?, 16).ok();
    let (instance, replica) = (hex()?, hex()?);
    let generation = words.next()?.parse().ok()?;
    Some(ServingAt { instance, replica, generation, address: words.next()?.to_owned() })
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SharedError {
    let path = path.to_owned();
    move |error| SharedError::Io { doing, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> (tempfile::TempDir, Shared) {
        let root = tempfile::tempdir().unwrap();
        let shared = Shared::open(root.path(), "run-1").unwrap();
        (root, shared)
    }

    #[test]
    fn a_run_begins_where_nobody_lives() {
        let (_root, shared) = shared();
        assert_eq!(shared.instance().unwrap(), None);
        let alive = shared.begin_run(1, 10).unwrap();
        assert!(matches!(shared.begin_run(2, 11), Err(SharedError::Running { replica: 10 })));
        let backup = shared.announce(12).unwrap();
        assert_eq!(shared.living().unwrap(), [10, 12]);
        drop(alive);
        assert!(matches!(shared.begin_run(2, 11), Err(SharedError::Running { replica: 12 })));
        drop(backup);
        fs::write(shared.console_path(), "said").unwrap();
        fs::write(shared.generation_path(1, 1), "x").unwrap();
        let _alive = shared.begin_run(2, 11).unwrap();
        assert_eq!(shared.instance().unwrap(), Some(2));
        assert_eq!(fs::read_to_string(shared.console_path()).unwrap(), "");
        assert_eq!(fs::read_to_string(shared.dir().join("console.previous")).unwrap(), "said");
        assert_eq!(shared.generations(1).unwrap(), []);
    }

    #[test]
    fn who_serves_is_found_and_forgotten() {
        let (_root, shared) = shared();
        assert_eq!(shared.serving().unwrap(), None);
        let at = ServingAt { instance: 1, replica: 2, generation: 3, address: "127.0.0.1:4".to_owned() };
        shared.publish(&at).unwrap();
        assert_eq!(shared.serving().unwrap(), Some(at));
        shared.retract(9);
        assert!(shared.serving().unwrap().is_some());
        shared.retract(2);
        assert_eq!(shared.serving().unwrap(), None);
        fs::write(shared.dir().join("serving"), "nonsense").unwrap();
        assert!(matches!(shared.serving(), Err(SharedError::Malformed { .. })));
    }

    #[test]
    fn how_the_guest_ended_is_told_once_it_is_told_whole() {
        let (_root, shared) = shared();
        assert_eq!(shared.power().unwrap(), None);
        for power in [Power::Off { code: 7 }, Power::TripleFault, Power::Dead, Power::Reset] {
            fs::write(shared.power_path(), power_text(power)).unwrap();
            assert_eq!(shared.power().unwrap(), Some(power));
        }
        fs::write(shared.power_path(), "off 1").unwrap();
        assert_eq!(shared.power().unwrap(), None);
        fs::write(shared.power_path(), "off 999\n").unwrap();
        assert!(matches!(shared.power(), Err(SharedError::Malformed { .. })));
    }

    #[test]
    fn names_stay_inside_the_root() {
        for name in ["", ".", "..", "a/b", "a\\b", "/tmp", "ü"] {
            assert!(matches!(Shared::open(Path::new("/nonexistent"), name), Err(SharedError::Name { .. })), "{name}");
        }
    }
}
