//! A TCP connection between the guest and somebody outside: ended here, and carried on by a stream of the host. What one
//! side does not take, the other cannot send; an end or a reset of one side becomes the same of the other.

use std::io::{self, ErrorKind};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::HardwareAddress;

use super::link::{Link, Port};
use super::segment::Pair;

/// Bytes that wait on their way in either direction: also the receive window that the guest sees.
const BUFFER_BYTES: usize = 256 << 10;
/// A guest that does not answer a connection is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// The other side: a stream that never blocks.
pub(super) trait Stream {
    /// As [`io::Read::read`].
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize>;
    /// As [`io::Write::write`].
    fn write(&mut self, from: &[u8]) -> io::Result<usize>;
    /// No more will be written.
    fn finish(&mut self);
    /// It is to end by a reset.
    fn reset(&mut self);
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It lives; unless something happens, it is to be advanced at this time.
    Lives(Option<Instant>),
    /// It has more to send than the link to the guest takes now.
    Blocked,
    /// It has ended on both sides.
    Over,
}

/// The end of a connection that the guest sees.
pub(super) struct Connection {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// The stream may have something to read, or room to write.
    readable: bool,
    writable: bool,
    /// The stream has nothing more to read.
    ended: bool,
    /// The guest will not write any more, and the stream has been told.
    finished: bool,
    /// What the stream has not taken yet of a connection that is over for the guest.
    rest: Option<Vec<u8>>,
}

impl Connection {
    /// Answers the guest, which has asked for `pair` by the packet with which [`Self::advance`] is called next.
    pub(super) fn accept(pair: Pair, now: Instant, seed: u64, link: &mut Link) -> Option<Self> {
        Self::new(now, seed, link, |_, socket| socket.listen(pair.far).is_ok())
    }

    /// Asks the guest for `pair`.
    pub(super) fn connect(pair: Pair, now: Instant, seed: u64, link: &mut Link) -> Option<Self> {
        Self::new(now, seed, link, |interface, socket| {
            socket.set_timeout(Some(CONNECT_TIMEOUT));
            socket.connect(interface.context(), pair.guest, pair.far).is_ok()
        })
    }

    fn new(
        now: Instant,
        seed: u64,
        link: &mut Link,
        begin: impl FnOnce(&mut Interface, &mut Socket<'static>) -> bool,
    ) -> Option<Self> {
        let mut interface = interface(now, seed, link);
        let buffer = || SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false); // Whoever wrote it has had the choice.
        if !begin(&mut interface, &mut socket) {
            return None;
        }
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Some(Self {
            interface,
            sockets,
            handle,
            readable: true,
            writable: true,
            ended: false,
            finished: false,
            rest: None,
        })
    }

    /// The stream says that it may be read or written.
    pub(super) fn ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Does what can be done: takes in what the guest has sent, moves bytes both ways, sends what there is room for.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        arrived: Option<&[u8]>,
        stream: &mut dyn Stream,
        link: &mut Link,
    ) -> Fate {
        if self.rest.is_some() {
            return self.write_rest(stream);
        }
        let mut port = Port { arrived, link };
        loop {
            self.interface.poll(now, &mut port, &mut self.sockets);
            if !self.relay(stream) {
                break;
            }
        }
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let forgotten = socket.state() == State::Closed && socket.remote_endpoint().is_none();
        if forgotten || matches!(socket.state(), State::TimeWait | State::Listen) {
            self.rest = Some(drain(socket));
            return self.write_rest(stream);
        }
        match self.interface.poll_at(now, &self.sockets) {
            Some(due) if due <= now && !port.link.has_room() => Fate::Blocked,
            due => Fate::Lives(due),
        }
    }

    /// Moves bytes between the stream and the guest's end; `true` if there is something new to tell the guest.
    fn relay(&mut self, stream: &mut dyn Stream) -> bool {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        if matches!(socket.state(), State::Listen | State::SynSent | State::SynReceived) {
            return false;
        }
        socket.set_timeout(None);
        let mut moved = false;
        while self.writable && socket.can_recv() {
            match socket.recv(|bytes| counted(stream.write(bytes))) {
                Ok(Ok(count)) => moved |= count > 0,
                Ok(Err(error)) => self.writable = retry(&error, socket),
                Err(_) => break,
            }
        }
        if socket.recv(|_| (0, ())) == Err(RecvError::Finished) && !std::mem::replace(&mut self.finished, true) {
            stream.finish();
        }
        while self.readable && socket.can_send() {
            match socket.send(|room| counted(stream.read(room))) {
                Ok(Ok(0)) => (self.readable, self.ended) = (false, true),
                Ok(Ok(_)) => moved = true,
                Ok(Err(error)) => self.readable = retry(&error, socket),
                Err(_) => break,
            }
        }
        // Not before the guest has everything: in LAST-ACK, smoltcp 0.14 takes an update of the guest's window for an old
        // acknowledgement, and sends nothing more for a second.
        if self.ended && socket.send_queue() == 0 && socket.may_send() {
            socket.close();
            moved = true;
        }
        moved
    }

    /// The guest has nothing to do with it any more: what it has sent must still arrive.
    fn write_rest(&mut self, stream: &mut dyn Stream) -> Fate {
        let rest = self.rest.get_or_insert_default();
        while self.writable && !rest.is_empty() {
            match stream.write(rest) {
                Ok(count) => drop(rest.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => rest.clear(),
            }
        }
        if !rest.is_empty() {
            return Fate::Lives(None);
        }
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let in_order = self.finished || socket.recv(|_| (0, ())) == Err(RecvError::Finished);
        if !in_order {
            stream.reset();
        }
        Fate::Over
    }
}

/// Takes everything out that the guest has sent.
fn drain(socket: &mut Socket<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(1..) = socket.recv(|part| {
        bytes.extend_from_slice(part);
        (part.len(), part.len())
    }) {}
    bytes
}

/// How many bytes were moved: for the buffer, and for us.
fn counted(result: io::Result<usize>) -> (usize, io::Result<usize>) {
    (*result.as_ref().unwrap_or(&0), result)
}

/// Whether to try at once after `error`. One that means the end of the stream is told the guest.
fn retry(error: &io::Error, socket: &mut Socket<'_>) -> bool {
    match error.kind() {
        ErrorKind::Interrupted => return true,
        ErrorKind::WouldBlock => {}
        _ => socket.abort(),
    }
    false
}

/// Tells the guest that there is nobody at the other end of what it has sent.
pub(super) fn refuse(now: Instant, packet: &[u8], link: &mut Link) {
    let mut interface = interface(now, 0, link);
    let mut port = Port { arrived: Some(packet), link };
    interface.poll(now, &mut port, &mut SocketSet::new(Vec::new()));
}

/// An interface with every address.
fn interface(now: Instant, seed: u64, link: &mut Link) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut Port { arrived: None, link }, now);
    interface.set_any_ip(true);
    interface
}
