"""The back end's half of vhost-user, enough for QEMU and for User-Mode Linux.

A virtual machine monitor (the front end) connects to a Unix socket and hands over the
guest's memory and one event descriptor for each queue and direction. From then on both
sides work on split virtqueues in shared memory (virtio 1.2, section 2.7; QEMU's
docs/interop/vhost-user.rst). Everything runs in one asyncio loop; x86-64 only, because
the rings are read and written without memory barriers.
"""

from __future__ import annotations

import abc
import asyncio
import enum
import mmap
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

VIRTIO_F_VERSION_1 = 1 << 32
VHOST_USER_F_PROTOCOL_FEATURES = 1 << 30

MESSAGE = struct.Struct("<III")  # request, flags, size of what follows
VERSION, REPLY, NEED_REPLY = 1, 1 << 2, 1 << 3
NO_DESCRIPTOR = 1 << 8  # in SET_VRING_KICK, CALL and ERR: none comes with the message

DESCRIPTOR = struct.Struct("<QIHH")  # address, length, flags, next
NEXT, WRITE, INDIRECT = 1, 2, 4


class Request(enum.IntEnum):
    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SET_BACKEND_REQ_FD = 21
    GET_CONFIG = 24
    SET_CONFIG = 25


class ProtocolFeature(enum.IntFlag):
    MQ = 1 << 0
    REPLY_ACK = 1 << 3
    BACKEND_REQ = 1 << 5  # unused here, but User-Mode Linux raises no interrupt without it
    CONFIG = 1 << 9  # QEMU insists on it for vsock, and warns about it where it is useless


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of guest memory: where the guest and the front end see it, and our view."""

    guest_address: int
    user_address: int
    view: memoryview


@dataclass(frozen=True, slots=True)
class Chain:
    """A buffer that the driver made available, as views into guest memory."""

    head: int
    readable: list[memoryview]
    writable: list[memoryview]

    def read(self) -> bytes:
        return b"".join(self.readable)

    @property
    def capacity(self) -> int:
        return sum(map(len, self.writable))

    def write(self, data: bytes) -> int:
        """Copy `data` into the writable part; return how many bytes fitted."""
        done = 0
        for view in self.writable:
            part = data[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        return done


@dataclass(slots=True)
class Queue:
    """One split virtqueue: its addresses in the front end, and its rings once mapped."""

    index: int
    size: int = 0
    next_available: int = 0
    enabled: bool = False
    kick: int = -1
    call: int = -1
    addresses: tuple[int, int, int] | None = None  # descriptors, used, available
    descriptors: memoryview = field(default_factory=lambda: memoryview(b""))
    available: memoryview = field(default_factory=lambda: memoryview(b""))  # 16-bit words
    used: memoryview = field(default_factory=lambda: memoryview(b""))  # 16-bit words
    used_ring: memoryview = field(default_factory=lambda: memoryview(b""))  # 32-bit words

    @property
    def ready(self) -> bool:
        return self.enabled and len(self.available) > 0

    def push(self, chain: Chain, written: int) -> None:
        """Give `chain` back to the driver with `written` bytes in it."""
        index = self.used[1]
        slot = index % self.size
        self.used_ring[2 * slot] = chain.head
        self.used_ring[2 * slot + 1] = written
        self.used[1] = (index + 1) & 0xFFFF  # last: this publishes the element

    def signal(self) -> None:
        if self.call >= 0:
            with suppress(BlockingIOError):  # the front end already has a signal waiting
                os.write(self.call, struct.pack("<Q", 1))


class Device(abc.ABC):
    """A vhost-user device listening at `path`; subclasses say what its queues mean."""

    queue_count = 1
    config = b""

    def __init__(self, path: str) -> None:
        self.path = path
        self.regions: list[Region] = []
        self.queues = [Queue(index) for index in range(self.queue_count)]
        self._frontend: socket.socket | None = None
        self._received = bytearray()
        self._descriptors: list[int] = []
        self._channel = -1  # for our requests: none are made, but closing it unplugs the device
        self._listener = socket.socket(socket.AF_UNIX)

    def start(self) -> None:
        """Listen, and serve one front end at a time within the running loop."""
        Path(self.path).unlink(missing_ok=True)
        self._listener.bind(self.path)
        self._listener.listen(1)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    @abc.abstractmethod
    def on_kick(self, queue: Queue) -> None:
        """The driver made buffers available in `queue`."""

    @abc.abstractmethod
    def on_stop(self) -> None:
        """The guest's driver or the front end has gone: forget what was under way."""

    # --- virtqueues

    def chains(self, queue: Queue) -> Iterator[Chain]:
        """Take what the driver has made available, one chain a step."""
        while queue.ready and queue.available[1] != queue.next_available:
            head = queue.available[2 + queue.next_available % queue.size]
            queue.next_available = (queue.next_available + 1) & 0xFFFF
            yield self._chain(queue, head)

    def _chain(self, queue: Queue, head: int) -> Chain:
        chain = Chain(head, [], [])
        table, index = queue.descriptors, head
        for _ in range(2 * queue.size):  # a longer chain would be a loop
            address, length, flags, following = DESCRIPTOR.unpack_from(table, 16 * index)
            view = self._guest_memory(address, length)
            if flags & INDIRECT:
                table, index = view, 0
                continue
            (chain.writable if flags & WRITE else chain.readable).append(view)
            if not flags & NEXT:
                return chain
            index = following
        raise ValueError("endless descriptor chain")

    def _guest_memory(self, address: int, length: int) -> memoryview:
        for region in self.regions:
            start = address - region.guest_address
            if start >= 0 and start + length <= len(region.view):
                return region.view[start : start + length]
        raise ValueError(f"guest address {address:#x} is not mapped")

    def _user_memory(self, address: int, length: int) -> memoryview:
        for region in self.regions:
            start = address - region.user_address
            if start >= 0 and start + length <= len(region.view):
                return region.view[start : start + length]
        raise ValueError(f"front end's address {address:#x} is not mapped")

    def _map_queue(self, queue: Queue) -> None:
        if queue.addresses is None or not self.regions:
            return
        descriptors, used, available = queue.addresses
        queue.descriptors = self._user_memory(descriptors, 16 * queue.size)
        # cast() reads and writes whole words, which slices of bytes would not promise
        queue.available = self._user_memory(available, 4 + 2 * queue.size).cast("H")
        queue.used = self._user_memory(used, 4).cast("H")
        queue.used_ring = self._user_memory(used + 4, 8 * queue.size).cast("I")

    def _kicked(self, queue: Queue) -> None:
        with suppress(BlockingIOError):
            os.read(queue.kick, 8)
        self.on_kick(queue)

    def _close_kick(self, queue: Queue) -> None:
        if queue.kick >= 0:
            asyncio.get_running_loop().remove_reader(queue.kick)
            os.close(queue.kick)
        queue.kick = -1

    def _close_call(self, queue: Queue) -> None:
        if queue.call >= 0:
            os.close(queue.call)
        queue.call = -1

    def _close_channel(self) -> None:
        if self._channel >= 0:
            os.close(self._channel)
        self._channel = -1

    # --- messages

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._disconnect()
        self._frontend = connection
        asyncio.get_running_loop().add_reader(connection.fileno(), self._receive)

    def _disconnect(self) -> None:
        if self._frontend is None:
            return
        asyncio.get_running_loop().remove_reader(self._frontend.fileno())
        self._frontend.close()
        self._frontend = None
        for queue in self.queues:
            self._close_kick(queue)
            self._close_call(queue)
        self._close_channel()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._received.clear()
        self._descriptors.clear()
        self.regions.clear()
        self.queues = [Queue(index) for index in range(self.queue_count)]
        self.on_stop()

    def _receive(self) -> None:
        if self._frontend is None:
            return
        try:
            data, descriptors, _, _ = socket.recv_fds(self._frontend, 65536, 16)
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self._disconnect()
            return
        self._received += data
        self._descriptors += descriptors
        while len(self._received) >= MESSAGE.size:
            request, flags, size = MESSAGE.unpack_from(self._received)
            end = MESSAGE.size + size
            if len(self._received) < end:
                return
            payload = bytes(self._received[MESSAGE.size : end])
            del self._received[:end]
            self._reply(request, flags, self._handle(request, payload))

    def _reply(self, request: int, flags: int, answer: bytes | None) -> None:
        if self._frontend is None:
            return
        if answer is None and flags & NEED_REPLY:
            answer = struct.pack("<Q", 0)  # zero: done
        if answer is not None:
            self._frontend.sendall(MESSAGE.pack(request, VERSION | REPLY, len(answer)) + answer)

    def _handle(self, request: int, payload: bytes) -> bytes | None:
        """Act on one message; return the answer that this kind always has, if it has one."""
        match request:
            case Request.GET_FEATURES:
                return struct.pack("<Q", VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES)
            case Request.GET_PROTOCOL_FEATURES:
                return struct.pack("<Q", self._protocol_features())
            case Request.GET_QUEUE_NUM:
                return struct.pack("<Q", self.queue_count)
            case Request.GET_CONFIG:
                offset, size, flags = struct.unpack_from("<III", payload)
                content = self.config[offset : offset + size].ljust(size, b"\0")
                return struct.pack("<III", offset, size, flags) + content
            case Request.SET_VRING_KICK | Request.SET_VRING_CALL | Request.SET_VRING_ERR:
                self._set_event(Request(request), struct.unpack("<Q", payload)[0])
            case (
                Request.SET_VRING_NUM
                | Request.SET_VRING_BASE
                | Request.GET_VRING_BASE
                | Request.SET_VRING_ENABLE
            ):
                index, value = struct.unpack("<II", payload)
                return self._set_state(Request(request), self.queues[index], value)
            case _:
                self._configure(request, payload)
        return None

    def _configure(self, request: int, payload: bytes) -> None:
        match request:
            case Request.SET_MEM_TABLE:
                self._set_memory(payload)
            case Request.SET_BACKEND_REQ_FD:
                self._close_channel()
                self._channel = self._descriptors.pop(0)
            case Request.SET_VRING_ADDR:
                index, _, descriptors, used, available, _ = struct.unpack("<IIQQQQ", payload)
                self.queues[index].addresses = (descriptors, used, available)
                self._map_queue(self.queues[index])
            case (
                Request.SET_FEATURES
                | Request.SET_PROTOCOL_FEATURES
                | Request.SET_OWNER
                | Request.RESET_OWNER
                | Request.SET_CONFIG
            ):
                pass  # nothing to negotiate: the driver has to take what is offered
            case _:
                print(f"vhost-user: message {request} ignored", file=sys.stderr, flush=True)

    def _protocol_features(self) -> int:
        features = ProtocolFeature.MQ | ProtocolFeature.REPLY_ACK | ProtocolFeature.BACKEND_REQ
        return features | ProtocolFeature.CONFIG if self.config else features

    def _set_memory(self, payload: bytes) -> None:
        (count,) = struct.unpack_from("<I", payload)
        self.regions = []
        for position in range(count):
            guest, size, user, offset = struct.unpack_from("<QQQQ", payload, 8 + 32 * position)
            descriptor = self._descriptors.pop(0)
            view = memoryview(mmap.mmap(descriptor, size + offset))[offset:]
            os.close(descriptor)
            self.regions.append(Region(guest, user, view))
        for queue in self.queues:
            self._map_queue(queue)

    def _set_event(self, request: Request, value: int) -> None:
        queue = self.queues[value & 0xFF]
        descriptor = -1 if value & NO_DESCRIPTOR else self._descriptors.pop(0)
        if descriptor >= 0:
            os.set_blocking(descriptor, False)
        if request is Request.SET_VRING_KICK:
            self._close_kick(queue)
            queue.kick = descriptor
            if descriptor >= 0:
                asyncio.get_running_loop().add_reader(descriptor, self._kicked, queue)
        elif request is Request.SET_VRING_CALL:
            self._close_call(queue)
            queue.call = descriptor
        elif descriptor >= 0:
            os.close(descriptor)

    def _set_state(self, request: Request, queue: Queue, value: int) -> bytes | None:
        match request:
            case Request.SET_VRING_NUM:
                queue.size = value
            case Request.SET_VRING_BASE:
                queue.next_available = value
            case Request.SET_VRING_ENABLE:
                queue.enabled = bool(value)
                self.on_kick(queue)  # the driver may have filled it before
            case _:  # GET_VRING_BASE, which also stops the queue
                self._close_kick(queue)
                queue.enabled = False
                self.on_stop()
                return struct.pack("<II", queue.index, queue.next_available)
        return None
