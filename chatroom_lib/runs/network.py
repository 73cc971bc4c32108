"""A network in memory, for the simulation: what asyncio's own transports do, without a socket.

Each direction of a connection has a write buffer at the sender and a window of bytes that may be in flight to the
receiver, as TCP has. A receiver that does not read fills its window, then the sender's buffer, and then the sender's
protocol is told to pause: so backpressure here is the real one, the library's own.
"""

import asyncio
import contextvars
import random
from collections import deque
from typing import NamedTuple

from chatroom_lib.clients.scenario import NEVER

WINDOW = 65536  # maximum bytes in flight to a client, as in TCP's receive window
LATENCY = (0.0002, 0.002)  # seconds that a packet travels: anything between these


class Link(NamedTuple):
    """What the packets of one client travel on, in both directions."""

    latency: float = 0.0  # seconds that each packet travels longer than LATENCY
    dark: float = NEVER  # from then on nothing passes,
    light: float = NEVER  # until then; what was sent meanwhile is sent again, and arrives

    def arrival(self, departure: float, chance: random.Random) -> float:
        """When a packet arrives that is sent at `departure`; NEVER, if the line stays dark."""
        travels = self.latency + chance.uniform(*LATENCY)
        passes = departure + travels < self.dark or departure >= self.light
        return (departure if passes else self.light) + travels


class Listener:
    """What `create_server` returns: as much of asyncio.Server as websockets uses."""

    sockets = ()

    def __init__(self, loop, protocol_factory, address):
        self.loop, self.protocol_factory, self.address = loop, protocol_factory, address
        self.context = contextvars.copy_context()
        self.transports = []  # of those that it has accepted, while they are open

    def accept(self):
        return self.context.copy().run(self.protocol_factory)

    def die(self):
        """The process is killed: the system closes its sockets."""
        self.close()
        for transport in self.transports:
            transport.die()

    def close(self):
        if self.is_serving():
            del self.loop.listening[self.address]

    def is_serving(self):
        return self.loop.listening.get(self.address) is self

    def get_loop(self):
        return self.loop

    async def wait_closed(self):
        pass


class Datagrams(asyncio.DatagramTransport):
    """A port for datagrams, on the machine of the servers: none is lost on the way to another one."""

    def __init__(self, loop, protocol, address):
        super().__init__({"sockname": address})
        self.loop, self.protocol, self.address = loop, protocol, address
        self.context = contextvars.copy_context()

    def sendto(self, data, addr=None):
        if peer := self.loop.datagrams.get(addr):
            arrival = Link().arrival(self.loop.now, self.loop.random)
            self.loop.call_at(arrival, peer.arrive, bytes(data), self.address, context=peer.context)

    def arrive(self, data, sender):
        if not self.is_closing():
            self.protocol.datagram_received(data, sender)

    def is_closing(self):
        return self.loop.datagrams.get(self.address) is not self

    def close(self):
        if not self.is_closing():
            del self.loop.datagrams[self.address]
            self.loop.call_soon(self.protocol.connection_lost, None)

    def abort(self):
        self.close()

    def die(self):
        """The process is killed: its protocol hears nothing of it."""
        self.loop.datagrams.pop(self.address, None)


class Transport(asyncio.Transport):
    """One end of a TCP connection: a write buffer here, and a window of bytes that may be in flight to the peer.

    A peer that does not read fills its window, then our buffer, and then our protocol is told to pause.
    """

    def __init__(self, loop, protocol, window, address, peer_address):
        super().__init__({"sockname": address, "peername": peer_address})
        self.loop, self.protocol, self.window = loop, protocol, window
        self.peer: Transport
        self.context: contextvars.Context  # for what arrives here
        self.link = Link()
        self.write_time = 0.0  # seconds that a write takes at most
        self.buffer = bytearray()  # written, and not yet in flight
        self.high, self.low = 65536, 16384  # bytes in the buffer at which the protocol pauses, and resumes
        self.unread = 0  # bytes in flight to us, or arrived and not yet taken by our protocol
        self.arrived = deque()  # packets not yet taken; b"" is the end of the stream
        self.last_arrival = 0.0  # at the peer: packets do not overtake each other
        self.reading = True
        self.paused = self.closing = self.closed = False
        self.eof = None  # None, "wanted" or "sent"
        self.broken = False  # the peer has reset the connection, and we have not noticed yet

    # ------------------------------------------------------------ writing

    def set_write_buffer_limits(self, high=None, low=None):
        self.high = 65536 if high is None else high
        self.low = self.high // 4 if low is None else low

    def get_write_buffer_limits(self):
        return self.low, self.high

    def get_write_buffer_size(self):
        return len(self.buffer)

    def write(self, data):
        if self.closed or self.eof:
            return
        self.loop.spend(self.write_time * self.loop.chance())
        self.buffer += data
        self.flush()
        if len(self.buffer) > self.high and not self.paused and not self.closed:
            self.paused = True
            self.protocol.pause_writing()

    def can_write_eof(self):
        return True

    def write_eof(self):
        if not self.eof:
            self.eof = "wanted"
            self.flush()

    def flush(self):
        """Send off what fits into the peer's window, and then what waits for an empty buffer."""
        if self.closed:
            return
        if self.broken:
            self.lose(ConnectionResetError(104, "Connection reset by peer"))
            return
        if packet := bytes(self.buffer[: self.peer.window - self.peer.unread]):
            del self.buffer[: len(packet)]
            self.peer.unread += len(packet)
            self.travel(self.peer.arrive, packet)
        if self.paused and len(self.buffer) <= self.low:
            self.paused = False
            self.protocol.resume_writing()
        if not self.buffer:
            if self.eof == "wanted":
                self.eof = "sent"
                self.travel(self.peer.arrive, b"")
            if self.closing:
                self.lose(None)

    def travel(self, arrival, *args):
        """Call `arrival` at the peer after the time that a packet takes."""
        self.last_arrival = max(self.last_arrival, self.link.arrival(self.loop.now, self.loop.random))
        if self.last_arrival < NEVER:
            self.loop.call_at(self.last_arrival, arrival, *args, context=self.peer.context)

    # ------------------------------------------------------------ reading

    def arrive(self, packet):
        if self.closed:
            if packet:  # data for a closed socket: TCP answers with a reset
                self.travel(self.peer.be_reset)
            return
        self.arrived.append(packet)
        self.deliver()

    def deliver(self):
        while self.arrived and self.reading and not self.closing and not self.closed:
            packet = self.arrived.popleft()
            if packet:
                self.unread -= len(packet)
                self.protocol.data_received(packet)
                self.peer.flush()
            elif not self.protocol.eof_received():
                self.close()

    def is_reading(self):
        return self.reading and not self.closing

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True
        if self.broken:
            self.be_reset()
        else:
            self.loop.call_soon(self.deliver)

    # ------------------------------------------------------------ the end

    def is_closing(self):
        return self.closing or self.closed

    def close(self):
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.flush)

    def abort(self):
        self.lose(None, reset=True)

    def be_reset(self):
        """The peer has reset the connection. An endpoint that neither reads nor writes does not notice."""
        self.broken = True
        self.arrived.clear()
        if self.reading or self.buffer:
            self.lose(ConnectionResetError(104, "Connection reset by peer"))

    def die(self):
        """The process at this end is killed: what it has not sent is lost, and its protocol hears nothing of it."""
        if not self.closed:
            self.closed = True
            self.buffer.clear()
            if not self.broken:
                self.say_goodbye(reset=False)

    def lose(self, error, reset=False):
        if self.closed:
            return
        self.closed = True
        self.buffer.clear()
        self.loop.call_soon(self.let_go, error)
        if not self.broken:
            self.say_goodbye(reset)

    def say_goodbye(self, reset):
        if reset or self.arrived:  # closing a socket with unread data resets the connection, too
            self.travel(self.peer.be_reset)
        elif self.eof != "sent":
            self.travel(self.peer.arrive, b"")

    def let_go(self, error):
        """Nothing refers to a protocol whose connection is lost, as with asyncio's own transports."""
        protocol, self.protocol = self.protocol, None
        protocol.connection_lost(error)
