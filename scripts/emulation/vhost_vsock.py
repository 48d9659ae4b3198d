"""A vhost-user virtio-vsock device for each guest, and a switch between them and the host.

    vhost_vsock.py --guest CID=SOCKET ... [--forward [HOST:]PORT=CID:PORT ...] [--unix CID=PATH ...]

Each guest's virtual machine monitor connects to its SOCKET. Guests reach one another by
CID. Where no guest has CID 3, the host answers for it, as it does for CID 2:

    host to guest   a TCP connection to --forward, or one to the Unix socket PATH that
                    begins with "CONNECT <port>\\n" and is answered "OK <port>\\n"
    guest to host   a connection to port P goes to the Unix socket PATH_P

(The Unix sockets follow Firecracker's convention.) Virtio 1.2, section 5.10.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import functools
import os
import struct
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from scripts.emulation.vhost_user import Device, Queue

HEADER = struct.Struct("<QQIIIHHIII")
STREAM = 1  # the only type of socket that is offered
HOST_CIDS = (2, 3)  # the hypervisor, and the parent instance of a Nitro enclave
BUFFER_SIZE = 256 * 1024  # what a guest may send on a connection before we have passed it on
LARGEST_READ = 64 * 1024
CONNECT_SECONDS = 10
FIRST_HOST_PORT = 1 << 20


class Operation(enum.IntEnum):
    REQUEST = 1
    RESPONSE = 2
    RST = 3
    SHUTDOWN = 4
    RW = 5
    CREDIT_UPDATE = 6
    CREDIT_REQUEST = 7


SHUTDOWN_RECEIVE, SHUTDOWN_SEND = 1, 2


class Address(NamedTuple):
    cid: int
    port: int


@dataclass(frozen=True, slots=True)
class Packet:
    source: Address
    destination: Address
    operation: int
    kind: int = STREAM
    flags: int = 0
    buffer_size: int = 0
    forwarded: int = 0
    payload: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Packet:
        from_cid, to_cid, from_port, to_port, size, *rest = HEADER.unpack_from(data)
        kind, operation, flags, buffer_size, forwarded = rest
        payload = data[HEADER.size : HEADER.size + size]
        source, destination = Address(from_cid, from_port), Address(to_cid, to_port)
        return cls(source, destination, operation, kind, flags, buffer_size, forwarded, payload)

    def encode(self) -> bytes:
        cids = (self.source.cid, self.destination.cid)
        ports = (self.source.port, self.destination.port)
        rest = (self.kind, self.operation, self.flags, self.buffer_size, self.forwarded)
        return HEADER.pack(*cids, *ports, len(self.payload), *rest) + self.payload

    def refusal(self) -> Packet:
        return Packet(self.destination, self.source, Operation.RST, self.kind)


class Guest(Device):
    """The device of one guest: its queues turned into packets and back."""

    queue_count = 3
    RECEIVE, TRANSMIT, EVENT = range(3)

    def __init__(self, path: str, cid: int, switch: Switch) -> None:
        super().__init__(path)
        self.cid = cid
        self.config = struct.pack("<Q", cid)
        self.host = Host(self)
        self._switch = switch
        self._outbox: deque[Packet] = deque()
        self._chains: Counter[int] = Counter()  # packets by their number of descriptors

    @property
    def ready(self) -> bool:
        return self.queues[self.RECEIVE].ready

    def send(self, packet: Packet) -> None:
        """Queue `packet` for the guest; its own credit bounds how much can pile up."""
        if self.ready:
            self._outbox.append(packet)
            self._flush()

    def on_kick(self, queue: Queue) -> None:
        if queue.index == self.RECEIVE:
            self._flush()
        elif queue.index == self.TRANSMIT:
            for chain in self.chains(queue):
                data = chain.read()
                self._chains[len(chain.readable)] += 1
                queue.push(chain, 0)
                self._switch.deliver(self, Packet.decode(data))
            queue.signal()

    def on_stop(self) -> None:
        self._tell_descriptors()
        self._outbox.clear()
        self.host.reset()
        self._switch.guest_stopped(self)

    def _tell_descriptors(self) -> None:
        """Say in how many descriptors the guest's packets came, for whoever reads the log."""
        for count, packets in sorted(self._chains.items()):
            print(f"CID {self.cid}: {packets} packets in {count} descriptors", flush=True)
        self._chains.clear()

    def _flush(self) -> None:
        if not self._outbox:
            return
        queue = self.queues[self.RECEIVE]
        for chain in self.chains(queue):
            packet = self._outbox.popleft()
            # A driver's buffers are small (Linux: 3,776 bytes with the header), while a
            # packet from another guest can be 64 KiB: cut it to what the buffer holds.
            room = chain.capacity - HEADER.size
            if len(packet.payload) > room:
                self._outbox.appendleft(replace(packet, payload=packet.payload[room:]))
                packet = replace(packet, payload=packet.payload[:room])
            queue.push(chain, chain.write(packet.encode()))
            if not self._outbox:
                break
        queue.signal()


class Switch:
    """Carries packets between guests by CID, and to the host where no guest has the CID."""

    def __init__(self) -> None:
        self.guests: dict[int, Guest] = {}
        self._links: set[frozenset[Address]] = set()  # connections between two guests

    def deliver(self, sender: Guest, packet: Packet) -> None:
        if packet.source.cid != sender.cid or packet.kind != STREAM:
            sender.send(packet.refusal())
            return
        receiver = self.guests.get(packet.destination.cid)
        if receiver is None:
            sender.host.receive(packet)
        elif receiver.ready:
            self._track(packet)
            receiver.send(packet)
        elif packet.operation != Operation.RST:
            sender.send(packet.refusal())

    def guest_stopped(self, guest: Guest) -> None:
        """Reset what others have open with `guest`, which can no longer do it itself."""
        for link in [link for link in self._links if guest.cid in {end.cid for end in link}]:
            self._links.remove(link)
            for near, far in (tuple(link), tuple(link)[::-1]):
                if near.cid == guest.cid and far.cid != guest.cid:
                    self.guests[far.cid].send(Packet(near, far, Operation.RST))

    def _track(self, packet: Packet) -> None:
        link = frozenset((packet.source, packet.destination))
        if packet.operation == Operation.REQUEST:
            self._links.add(link)
        elif packet.operation == Operation.RST:
            self._links.discard(link)


class Connection:
    """The host's end of one connection: a stream on this side, packets on the guest's."""

    def __init__(self, guest: Guest, local: Address, remote: Address) -> None:
        self._guest, self._local, self._remote = guest, local, remote
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._inbound: asyncio.Queue[bytes] = asyncio.Queue()  # b"" is the end
        self._closed = asyncio.Event()  # the guest neither sends nor receives any more
        self._credit = asyncio.Event()
        self._guest_flags = 0
        self._guest_buffer = self._guest_forwarded = self._sent = 0
        self._forwarded = self._announced = 0

    def send(self, operation: Operation, payload: bytes = b"", flags: int = 0) -> None:
        self._announced = self._forwarded
        count = self._forwarded & 0xFFFFFFFF
        ends = (self._local, self._remote)
        self._guest.send(Packet(*ends, operation, STREAM, flags, BUFFER_SIZE, count, payload))

    def receive(self, packet: Packet) -> None:
        self._guest_buffer, self._guest_forwarded = packet.buffer_size, packet.forwarded
        self._credit.set()
        match packet.operation:
            case Operation.RESPONSE if not self.answer.done():
                self.answer.set_result(True)
            case Operation.RST:
                self.abort()
            case Operation.RW:
                self._inbound.put_nowait(packet.payload)
            case Operation.CREDIT_REQUEST:
                self.send(Operation.CREDIT_UPDATE)
            case Operation.SHUTDOWN:
                self._guest_flags |= packet.flags
                if self._guest_flags & SHUTDOWN_SEND:
                    self._inbound.put_nowait(b"")
                if self._guest_flags & SHUTDOWN_RECEIVE:
                    self._closed.set()

    def abort(self) -> None:
        if not self.answer.done():
            self.answer.set_result(False)
        self._inbound.put_nowait(b"")
        self._closed.set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry both directions, each to its own end, until the guest has closed."""
        upload = asyncio.create_task(self._to_guest(reader))
        try:
            await self._from_guest(writer)
            await self._closed.wait()
        except OSError:
            pass  # our side has gone: the reset tells the guest
        finally:
            upload.cancel()
            writer.close()
            self.send(Operation.RST)

    async def _from_guest(self, writer: asyncio.StreamWriter) -> None:
        while data := await self._inbound.get():
            writer.write(data)
            await writer.drain()
            self._forwarded += len(data)
            if self._forwarded - self._announced >= BUFFER_SIZE // 4:
                self.send(Operation.CREDIT_UPDATE)
        if writer.can_write_eof():
            writer.write_eof()

    async def _to_guest(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(LARGEST_READ):
                while data:
                    room = await self._room()
                    self._sent += len(data[:room])
                    self.send(Operation.RW, data[:room])
                    data = data[room:]
            self.send(Operation.SHUTDOWN, flags=SHUTDOWN_SEND)
        except OSError:
            self.abort()

    async def _room(self) -> int:
        while True:
            in_flight = (self._sent - self._guest_forwarded) & 0xFFFFFFFF
            if in_flight < self._guest_buffer:
                return self._guest_buffer - in_flight
            self._credit.clear()
            await self._credit.wait()


class Host:
    """The host as one guest's peer."""

    def __init__(self, guest: Guest) -> None:
        self.path = ""  # of the Unix socket; none: the guest's connections are refused
        self._guest = guest
        self._connections: dict[tuple[Address, Address], Connection] = {}
        self._next_port = FIRST_HOST_PORT
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen_unix(self, path: str) -> None:
        self.path = path
        await asyncio.start_unix_server(self._serve_unix, path)

    async def listen_tcp(self, host: str, port: int, guest_port: int) -> None:
        serve = functools.partial(self._serve, guest_port)
        await asyncio.start_server(serve, host, port, backlog=128)

    def receive(self, packet: Packet) -> None:
        connection = self._connections.get((packet.destination, packet.source))
        if connection is not None:
            connection.receive(packet)
        elif packet.operation == Operation.REQUEST:
            self._spawn(self._accept(packet))
        elif packet.operation != Operation.RST:
            self._guest.send(packet.refusal())

    def reset(self) -> None:
        for connection in list(self._connections.values()):
            connection.abort()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, request: Packet) -> None:
        local, remote = request.destination, request.source
        try:
            if local.cid not in HOST_CIDS or not self.path:
                raise OSError
            reader, writer = await asyncio.open_unix_connection(f"{self.path}_{local.port}")
        except OSError:
            self._guest.send(request.refusal())
            return
        connection = self._open(local, remote)
        connection.receive(request)  # for the credit in it
        connection.send(Operation.RESPONSE)
        await self._relay(connection, reader, writer)

    async def _serve_unix(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), CONNECT_SECONDS)
            command, port = line.split()
            if command != b"CONNECT":
                raise ValueError
            await self._serve(int(port), reader, writer, b"OK %d\n" % self._next_port)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError):
            writer.close()

    async def _serve(
        self,
        guest_port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        greeting: bytes = b"",
    ) -> None:
        connection = self._connect(guest_port)
        try:
            accepted = await asyncio.wait_for(connection.answer, CONNECT_SECONDS)
        except TimeoutError:
            accepted = False
        if accepted:
            writer.write(greeting)
        else:
            connection.abort()
        await self._relay(connection, reader, writer)

    def _connect(self, guest_port: int) -> Connection:
        cid = next(cid for cid in reversed(HOST_CIDS) if cid != self._guest.cid)
        local = Address(cid, self._next_port)
        self._next_port += 1
        connection = self._open(local, Address(self._guest.cid, guest_port))
        if self._guest.ready:
            connection.send(Operation.REQUEST)
        else:
            connection.abort()
        return connection

    def _open(self, local: Address, remote: Address) -> Connection:
        connection = Connection(self._guest, local, remote)
        self._connections[local, remote] = connection
        return connection

    async def _relay(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            await connection.relay(reader, writer)
        finally:
            self._connections = {
                key: value for key, value in self._connections.items() if value is not connection
            }


async def serve(arguments: argparse.Namespace) -> None:
    switch = Switch()
    for cid, path in (item.split("=", 1) for item in arguments.guest):
        switch.guests[int(cid)] = Guest(path, int(cid), switch)
    for cid, path in (item.split("=", 1) for item in arguments.unix):
        await switch.guests[int(cid)].host.listen_unix(path)
    for near, far in (item.split("=", 1) for item in arguments.forward):
        host, _, port = near.rpartition(":")
        cid, guest_port = far.split(":")
        listen = switch.guests[int(cid)].host.listen_tcp
        await listen(host or "127.0.0.1", int(port), int(guest_port))
    for guest in switch.guests.values():
        guest.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="virtio-vsock for guests, over vhost-user")
    parser.add_argument("--guest", action="append", required=True, metavar="CID=SOCKET")
    parser.add_argument("--forward", action="append", default=[], metavar="[HOST:]PORT=CID:PORT")
    parser.add_argument("--unix", action="append", default=[], metavar="CID=PATH")
    os.umask(0o077)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
