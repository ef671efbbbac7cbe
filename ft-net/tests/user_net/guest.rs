//! A guest of the user-mode network: another TCP/IP stack on the same Ethernet.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use ft_net::user_net::{GATEWAY, GUEST, Ports, UserNet};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{self, Socket, SocketBuffer, State};
use smoltcp::socket::udp;
use smoltcp::time::Instant as NetInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

/// Nothing in these tests takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The guest.
pub(crate) struct Guest {
    pub(crate) wire: Wire,
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    zero: Instant,
    next_port: u16,
}

/// Its network device.
pub(crate) struct Wire {
    pub(crate) net: UserNet,
    frames: Receiver<Vec<u8>>,
    arrived: VecDeque<Vec<u8>>,
}

impl Guest {
    /// A guest on a network with these options, with the address that it would get.
    pub(crate) fn new(options: &str) -> Self {
        let options = options.parse().unwrap();
        let (to, frames) = mpsc::channel();
        let net = UserNet::start(&options, Ports::Now, move |frame| drop(to.send(frame))).unwrap();
        let mut wire = Wire { net, frames, arrived: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(options.mac)));
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut wire, NetInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(GUEST, 24))).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(GATEWAY).unwrap();
        Self { wire, interface, sockets: SocketSet::new(Vec::new()), zero: Instant::now(), next_port: 40_000 }
    }

    fn now(&self) -> NetInstant {
        NetInstant::from_micros(i64::try_from(self.zero.elapsed().as_micros()).unwrap())
    }

    /// What has come, what is to be sent.
    pub(crate) fn poll(&mut self) {
        self.interface.poll(self.now(), &mut self.wire, &mut self.sockets);
    }

    /// One round; waits a little for more.
    pub(crate) fn step(&mut self) {
        self.poll();
        let now = self.now();
        let wait = self.interface.poll_delay(now, &self.sockets).map_or(10_000, |it| it.total_micros()).min(10_000);
        if wait > 0
            && let Ok(frame) = self.wire.frames.recv_timeout(Duration::from_micros(wait))
        {
            self.wire.arrived.push_back(frame);
        }
    }

    /// Goes on until `done` gives something.
    pub(crate) fn until<R>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<R>) -> R {
        let began = Instant::now();
        loop {
            if let Some(result) = done(self) {
                return result;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: it does not happen");
            self.step();
        }
    }

    /// Goes on for a while.
    pub(crate) fn pass(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.step();
        }
    }

    fn add(&mut self) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 64 << 10]);
        self.sockets.add(Socket::new(buffer(), buffer()))
    }

    pub(crate) fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.add();
        self.tcp(handle).listen(port).unwrap();
        handle
    }

    pub(crate) fn connect(&mut self, to: SocketAddrV4) -> SocketHandle {
        let handle = self.add();
        self.next_port += 1;
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket.connect(self.interface.context(), to, self.next_port).unwrap();
        handle
    }

    pub(crate) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn bind(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 16 << 10]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    /// Sends and receives one datagram.
    pub(crate) fn ask(&mut self, handle: SocketHandle, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        self.udp(handle).send_slice(payload, to).unwrap();
        self.until("an answer", |guest| guest.udp(handle).recv().ok().map(|(answer, _)| answer.to_vec()))
    }

    pub(crate) fn state(&mut self, handle: SocketHandle) -> State {
        self.tcp(handle).state()
    }

    pub(crate) fn established(&mut self, handle: SocketHandle) {
        self.until("a connection", |guest| (guest.state(handle) == State::Established).then_some(()));
    }

    /// Sends all of `bytes` while receiving; ends its direction if told so.
    pub(crate) fn send_all(&mut self, handle: SocketHandle, bytes: &[u8]) {
        let mut sent = 0;
        self.until("sending", |guest| {
            let socket = guest.tcp(handle);
            if socket.can_send() {
                sent += socket.send_slice(&bytes[sent..]).unwrap();
            }
            (sent == bytes.len()).then_some(())
        });
    }

    /// Receives until the other side ends its direction. `Err`: it did so by a reset; what came before.
    pub(crate) fn receive_all(&mut self, handle: SocketHandle) -> Result<Vec<u8>, Vec<u8>> {
        let mut bytes = Vec::new();
        let in_order = self.until("receiving", |guest| {
            let socket = guest.tcp(handle);
            match socket.recv(|part| (part.len(), part.to_vec())) {
                Ok(part) => bytes.extend(part),
                Err(tcp::RecvError::Finished) => return Some(true),
                Err(_) => return (socket.state() == State::Closed).then_some(false),
            }
            None
        });
        if in_order { Ok(bytes) } else { Err(bytes) }
    }

    pub(crate) fn remove(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }
}

impl Device for Wire {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: NetInstant) -> Option<(Frame, Sender<'_>)> {
        let frame = self.arrived.pop_front().or_else(|| self.frames.try_recv().ok())?;
        self.net.taken();
        Some((Frame(frame), Sender(&self.net)))
    }

    fn transmit(&mut self, _: NetInstant) -> Option<Sender<'_>> {
        Some(Sender(&self.net))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub(crate) struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(crate) struct Sender<'a>(&'a UserNet);

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.send(frame);
        result
    }
}
