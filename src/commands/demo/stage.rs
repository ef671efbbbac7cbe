//! One run of the demonstration: replicas in a shared directory of their own, kills, and what they lead to.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use ft_net::runtime::random_id;
use ft_net::shared::Shared;

use super::Narrator;
use super::relay::Relay;
use super::replica::Replica;
use super::watcher::Watcher;

/// Nothing that works takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is played.
pub(super) struct Play {
    /// Name of the built-in guest.
    pub(super) guest: &'static str,
    /// Its command line.
    pub(super) append: &'static str,
    /// How many primaries are killed.
    pub(super) kills: u32,
    /// Whether outputs wait for the backup.
    pub(super) output_rule: bool,
    /// What the network takes from a primary to its backup.
    pub(super) delay: Duration,
}

impl Play {
    /// One with the Output Rule, over a network that takes `delay`.
    pub(super) fn new(delay: Duration) -> Self {
        Self { guest: "", append: "", kills: 1, output_rule: true, delay }
    }

    /// How the command line names the guest.
    pub(super) fn program(&self) -> String {
        format!("guest:{}", self.guest)
    }
}

/// How it ended.
pub(super) struct Ended {
    /// Exit code of the last primary, which is the guest's.
    pub(super) code: Option<i32>,
    /// What somebody outside read as it came.
    pub(super) seen: Vec<u8>,
    /// What the console of record says at the end.
    pub(super) record: Vec<u8>,
}

/// A directory that goes when its owner does.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn create() -> Result<Self> {
        let path = env::temp_dir().join(format!("ftemu-demo-{:016x}", random_id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // What cannot be removed stays in the host's temporary directory.
    }
}

/// A run that is being played. Replicas are dropped, and so killed, before their directory.
pub(super) struct Stage<'a> {
    play: &'a Play,
    primary: Option<Replica>,
    backup: Option<Replica>,
    relay: Relay,
    watcher: Watcher,
    shared: Shared,
    dir: TemporaryDir,
}

impl<'a> Stage<'a> {
    /// An empty stage.
    pub(super) fn set(play: &'a Play) -> Result<Self> {
        let dir = TemporaryDir::create()?;
        let shared = Shared::open(&dir.0, "default")?;
        let relay = Relay::start(shared.clone(), play.delay)?;
        let watcher = Watcher::start(&shared);
        Ok(Self { play, primary: None, backup: None, relay, watcher, shared, dir })
    }

    /// Plays it to the end of the guest.
    pub(super) fn play(mut self, narrator: &mut Narrator) -> Result<Ended> {
        let mut primary = self.start("primary", &["--primary", &self.play.program(), "--append", self.play.append])?;
        let text = primary.hear("serving", PATIENCE)?.text;
        narrator.note(&format!("a primary runs guest:{} (process {}): {text}", self.play.guest, primary.id()))?;
        self.primary = Some(primary);
        self.protect(narrator)?;
        for _ in 0..self.play.kills {
            self.kill_and_see(narrator)?;
            self.protect(narrator)?;
        }
        self.finish(narrator)
    }

    fn start(&self, what: &str, arguments: &[&str]) -> Result<Replica> {
        let root: &Path = &self.dir.0;
        let rule: &[&str] = if self.play.output_rule { &[] } else { &["--unsafe-no-output-rule"] };
        Replica::start(what, root, &[arguments, rule].concat())
    }

    /// Starts a backup and waits until it could take over.
    fn protect(&mut self, narrator: &Narrator) -> Result<()> {
        let mut backup = self.start("backup", &["--backup", "--connect", self.relay.address()])?;
        let id = backup.id();
        backup.hear("following from", PATIENCE)?;
        self.backup = Some(backup);
        let primary = self.primary.as_mut().context("no primary")?;
        let text = primary.hear("protected by backup", PATIENCE)?.text;
        narrator.note(&format!("a backup joins (process {id}), gets the machine and follows: {text}"))
    }

    /// Kills the primary in the middle of its output and waits until the backup is the primary.
    fn kill_and_see(&mut self, narrator: &mut Narrator) -> Result<()> {
        let more = 200 + usize::try_from(narrator.draw(300))?;
        self.watcher.wait_for(self.watcher.count() + more, PATIENCE)?;
        let (mut old, mut new) = (self.primary.take().context("no primary")?, self.backup.take().context("no backup")?);
        self.relay.cut(); // What is on the wire dies with its sender.
        let killed = Instant::now();
        old.kill()?;
        let before = self.watcher.count();
        narrator.note(&format!("SIGKILL to the primary (process {}); {before} bytes were out", old.id()))?;
        narrator.note(&format!("    the last that was seen of it:  {}", last_line(&self.watcher.seen())))?;
        let lost = new.hear("primary lost", PATIENCE)?;
        narrator.note(&format!("    {:.1} ms after the kill: {}", ms(killed, lost.at), lost.text))?;
        let took = new.hear("TOOK OVER", PATIENCE)?;
        narrator.note(&format!("    {:.1} ms after the kill: {}", ms(killed, took.at), took.text))?;
        if self.play.output_rule {
            let at = self.watcher.wait_for(before + 1, PATIENCE)?;
            self.watcher.wait_for(before + 30, PATIENCE)?;
            let seen = self.watcher.seen();
            narrator.note(&format!("    {:.1} ms after the kill the next byte is out", ms(killed, at)))?;
            narrator.note(&format!("    and so it goes on:             {}", last_line(&seen)))?;
        }
        self.primary = Some(new);
        Ok(())
    }

    fn finish(mut self, narrator: &Narrator) -> Result<Ended> {
        let (mut primary, mut backup) =
            (self.primary.take().context("no primary")?, self.backup.take().context("no backup")?);
        let code = primary.wait(PATIENCE)?;
        let text = primary.hear("the guest", PATIENCE)?.text;
        narrator.note(&format!("the guest ends: {text}"))?;
        let backup_code = backup.wait(PATIENCE)?;
        ensure!(backup_code == code, "the primary ended with code {code:?}, its backup with {backup_code:?}");
        let record = fs::read(self.shared.console_path()).context("cannot read the console of record")?;
        self.watcher.wait_for(record.len(), PATIENCE)?;
        Ok(Ended { code, seen: self.watcher.seen(), record })
    }
}

fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

/// The last line that is complete.
fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().last().unwrap_or("(nothing)").trim_end().to_owned()
}
