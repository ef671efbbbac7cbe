//! Forwarded ports: where the host listens for the guest.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

use super::options::{Forward, Protocol};

/// A forwarded port.
pub(super) struct Door {
    pub(super) token: Token,
    pub(super) forward: Forward,
    socket: Option<Socket>,
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Who came by a door.
pub(super) enum Visitor {
    Stream(TcpStream, SocketAddr),
    /// So many bytes were put into the buffer.
    Datagram(usize, SocketAddr),
}

impl Door {
    /// A door that is not open yet.
    pub(super) fn new(token: Token, forward: Forward) -> Self {
        Self { token, forward, socket: None }
    }

    /// Begins to listen, unless it does. The port is then known.
    pub(super) fn open(&mut self, registry: &Registry) -> io::Result<()> {
        if self.socket.is_some() {
            return Ok(());
        }
        let at = self.forward.host;
        self.socket = Some(match self.forward.protocol {
            Protocol::Tcp => {
                let mut listener = TcpListener::bind(at)?;
                registry.register(&mut listener, self.token, Interest::READABLE)?;
                self.forward.host = listener.local_addr()?;
                Socket::Tcp(listener)
            }
            Protocol::Udp => {
                let mut socket = UdpSocket::bind(at)?;
                registry.register(&mut socket, self.token, Interest::READABLE)?;
                self.forward.host = socket.local_addr()?;
                Socket::Udp(socket)
            }
        });
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn guest(&self) -> SocketAddrV4 {
        self.forward.guest
    }

    /// The next visitor. `WouldBlock`: there is none.
    pub(super) fn visitor(&self, buffer: &mut [u8]) -> io::Result<Visitor> {
        match &self.socket {
            Some(Socket::Tcp(listener)) => listener.accept().map(|(stream, from)| Visitor::Stream(stream, from)),
            Some(Socket::Udp(socket)) => socket.recv_from(buffer).map(|(length, from)| Visitor::Datagram(length, from)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Sends a datagram of the guest back to whoever asked for it.
    pub(super) fn answer(&self, to: SocketAddr, payload: &[u8]) {
        if let Some(Socket::Udp(socket)) = &self.socket {
            let _ = socket.send_to(payload, to); // Datagrams may be lost.
        }
    }
}
