//! The thread that looks for a primary: where the shared directory says, or where the operator says.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use super::connection::{Connection, Heard};
use super::{StartError, spawn};
use crate::shared::Shared;

/// The way to the seeking thread: each message is one attempt.
pub(super) struct Seeker {
    to: Sender<()>,
}

/// How an attempt ended.
pub(super) enum Found {
    /// A connection to whoever may be the primary of run `instance`. What it hears comes after this.
    Connection { instance: u64, connection: Connection },
    /// None, for this reason.
    Nobody(String),
}

impl Seeker {
    pub(super) fn start(
        shared: Shared,
        address: Option<String>,
        timeout: Duration,
        heard: impl FnMut(Heard) -> bool + Clone + Send + 'static,
        found: impl Fn(Found) -> bool + Send + 'static,
    ) -> Result<Self, StartError> {
        let (to, from) = mpsc::channel();
        let work = move || {
            for () in from {
                let (ready, wait) = mpsc::channel::<()>();
                let (mut tell, mut wait) = (heard.clone(), Some(wait));
                let hold = move |what| {
                    if let Some(wait) = wait.take() {
                        let _ = wait.recv(); // Ends when the sender is dropped.
                    }
                    tell(what)
                };
                let attempt = match attempt(&shared, address.as_deref(), timeout, hold) {
                    Ok((instance, connection)) => Found::Connection { instance, connection },
                    Err(reason) => Found::Nobody(reason),
                };
                if !found(attempt) {
                    return;
                }
                drop(ready);
            }
        };
        spawn("connect", work).map_err(StartError::Thread)?;
        Ok(Self { to })
    }

    pub(super) fn seek(&self) {
        let _ = self.to.send(()); // The thread ends only when this replica does.
    }
}

fn attempt(
    shared: &Shared,
    address: Option<&str>,
    timeout: Duration,
    heard: impl FnMut(Heard) -> bool + Send + 'static,
) -> Result<(u64, Connection), String> {
    let instance = shared.instance().map_err(|error| error.to_string())?;
    let Some(instance) = instance else {
        return Err(format!("nobody has started one in {}", shared.dir().display()));
    };
    let serving = shared.serving().map_err(|error| error.to_string())?;
    let address = match (address, serving) {
        (Some(address), _) => address.to_owned(),
        (None, Some(at)) => at.address,
        (None, None) => return Err(format!("nobody serves in {}", shared.dir().display())),
    };
    let stream = dial(&address, timeout).map_err(|error| format!("{address}: {error}"))?;
    let connection = Connection::start(stream, timeout, heard).map_err(|error| error.to_string())?;
    Ok((instance, connection))
}

/// Connects to `host:port`.
pub(super) fn dial(address: &str, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
