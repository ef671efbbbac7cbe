//! The network of whoever serves. It is this process's own: connections do not survive a takeover, the guest's address does.

use std::sync::mpsc::{self, Receiver};

use crate::user_net::{NetError, NetOptions, Ports, UserNet};

/// The user-mode network, once this replica serves a machine with a network card.
pub(super) struct Network {
    options: NetOptions,
    running: Option<(UserNet, Receiver<Vec<u8>>)>,
    /// It was tried: it runs, or never will.
    begun: bool,
}

impl Network {
    pub(super) fn new(options: NetOptions) -> Self {
        Self { options, running: None, begun: false }
    }

    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// Starts it for the card with the address `mac`. `poke` is called when there is something for [`Self::poll`].
    pub(super) fn begin(
        &mut self,
        mac: [u8; 6],
        ports: Ports,
        poke: impl Fn() + Send + 'static,
    ) -> Result<(), NetError> {
        self.begun = true;
        let (to, frames) = mpsc::channel();
        let deliver = move |frame| {
            let _ = to.send(frame); // Nobody is there at the very end.
            poke();
        };
        let net = UserNet::start(&NetOptions { mac, ..self.options.clone() }, ports, deliver)?;
        self.running = Some((net, frames));
        Ok(())
    }

    /// The next frame for the machine.
    pub(super) fn poll(&self) -> Option<Vec<u8>> {
        let (net, frames) = self.running.as_ref()?;
        let frame = frames.try_recv().ok()?;
        net.taken();
        Some(frame)
    }

    /// A frame of the machine.
    pub(super) fn send(&self, frame: Vec<u8>) {
        if let Some((net, _)) = &self.running {
            net.send(frame);
        }
    }
}
