"""One worker process: an event loop that serves with the keys that its parent sends."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from enclave_server.chat import elsewhere
from enclave_server.chat.models import ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import Config, StreamTable
from enclave_server.gateway.admission import Admission
from enclave_server.gateway.pacing import Pacer, Report, Shape, unpadded
from enclave_server.gateway.replay import ReplayFilter
from enclave_server.gateway.routes import Pacer as AnyPacer
from enclave_server.gateway.routes import TooOften, make_router
from enclave_server.gateway.standing import Standing
from enclave_server.gateway.steps import Beside
from enclave_server.gateway.token_bucket import TokenBucket
from enclave_server.http.messages import Router
from enclave_server.http.rooms import Rooms
from enclave_server.http.server import Server
from enclave_server.keys.attester import Attester
from enclave_server.keys.ring import KeySet
from enclave_server.log import Log
from enclave_server.memory import Memory
from enclave_server.payment.gate import Gate
from enclave_server.processes import payment, readers
from enclave_server.processes.payment import Till
from enclave_server.processes.pool import BEAT_SECONDS, EXIT_FAILED, SERIAL
from enclave_server.processes.readers import Readers
from enclave_server.processes.readiness import Readiness
from enclave_server.processes.snapshot import MAX_SNAPSHOT_BYTES, Snapshot, decode_snapshot
from enclave_server.provision.desk import Desk, make_dispatch, make_gate
from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence
from protocol.gateway import Dispatch, Gateway
from protocol.shaping import GeometricSeries
from protocol.signature import SigningKeys

NONCE_BURST = 2.0
"""Documents for nonces that may be made at once: twice a second's."""

# Objects that may be there beyond those that were there at the last collection. At the usual 700
# the streams of one tick call for several, and a thousand streams stand still for 90 milliseconds
# every few seconds. Only cycles wait for it: asyncio leaves one a connection, of 5 objects.
UNCOLLECTED = 20_000


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What every worker has from its parent by being forked; keys come by message."""

    config: Config
    listener: socket.socket
    signing_keys: SigningKeys
    attester: Attester
    replays: ReplayFilter
    models: ModelTable
    provisioned: ProvisionedKeys
    readiness: Readiness
    rooms: Rooms
    till: Till | None = None


class State:
    """What a worker serves with at the moment."""

    serial: int

    def __init__(self, inheritance: Inheritance, snapshot: Snapshot, desk: Desk) -> None:
        rate = inheritance.config.evidence.nonce_per_second
        self._attester = inheritance.attester
        self._readiness = inheritance.readiness
        self._bucket = TokenBucket(rate, max(1.0, NONCE_BURST * rate), time.monotonic())
        self._desk = desk
        self.replace(snapshot)

    def ready(self) -> bool:
        """Return whether all models can be asked."""
        return bool(self._readiness)

    def keyset(self) -> KeySet:
        """Return the keys and the evidence of this moment, which belong together."""
        return self._keys

    def replace(self, snapshot: Snapshot) -> None:
        """Serve with `snapshot` from now on, and drop the keys before."""
        self.serial = snapshot.serial
        self._keys = snapshot.keys
        self._standing = snapshot.standing
        self._desk.learn(snapshot.provisioned)

    def standing(self) -> Standing:
        """Return where this enclave stands in its cluster; ValueError where there is none."""
        if self._standing is None:
            raise ValueError("an enclave by itself")
        return self._standing

    def opening_keys(self) -> tuple[GatewayKey, ...]:
        """Return the keys that open requests now."""
        return self._keys.opening(time.time())

    def signing_keys(self) -> SigningKeys:
        """Return the keys that sign answers."""
        return self._keys.signing_keys

    def fresh_document(self, nonce: bytes) -> Evidence:
        """Return evidence for the keys of this moment, made for `nonce`.

        Raises TooOften when the rate is used up, and NsmError.
        """
        if not self._bucket.take(time.monotonic()):
            raise TooOften
        return self._attester.attest(self._keys.ohttp_keys, nonce)


def run_worker(inheritance: Inheritance, number: int, channel: socket.socket) -> int:
    """Serve until SIGTERM, or until the parent is gone; return the exit status."""
    signal.set_wakeup_fd(-1)  # the parent's
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A terminal sends it to the whole group; the parent then says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = Log(worker=number)
    work = partial(elsewhere.do, inheritance.models, inheritance.signing_keys)
    template = readers.start(work)
    sys.unraisablehook = lambda failure: log.event("unraisable", kind=failure.exc_type.__name__)
    try:
        return asyncio.run(_serve(inheritance, number, log, channel, Readers(template)))
    except Exception as failure:
        # The text could quote a peer, so that only the place is told.
        log.event("worker_failed", kind=type(failure).__name__, at=_place(failure))
        return EXIT_FAILED


async def _serve(
    inheritance: Inheritance, number: int, log: Log, channel: socket.socket, large: Readers
) -> int:
    snapshot = decode_snapshot(channel.recv(MAX_SNAPSHOT_BYTES), inheritance.signing_keys)
    desk = Desk(channel, inheritance.provisioned)
    state = State(inheritance, snapshot, desk)
    limits = inheritance.config.limits
    memory = Memory(limits.buffered_bytes, limits.requests)
    gate = _make_gate(inheritance, log)
    chat = ChatService(
        inheritance.models,
        state.signing_keys,
        version=inheritance.config.chat.signature_version,
        repeated=lambda: log.count("upstream_repeated"),
        memory=memory,
        elsewhere=large.do,
        gate=gate,
    )
    dispatch = make_dispatch(
        make_gate(inheritance.config, snapshot.keys.tee_id),
        desk,
        chat.dispatch,
        lambda status: log.request("provision", status, 0, 0, 0.0),
    )
    router = _make_router(inheritance, state, dispatch, log, memory)
    room = inheritance.rooms.of(number)
    server = Server(inheritance.listener, router, limits, log, memory, room)
    ending = _listen_to_parent(state, inheritance.signing_keys, channel)
    large.when_gone(partial(_end_without_readers, ending, log))
    # What is there by now stays. The garbage collector need not walk through it again and again:
    # 2 to 4 microseconds less for a request, and no pause of 20 milliseconds now and then.
    gc.collect()
    gc.freeze()
    gc.set_threshold(UNCOLLECTED)
    await server.start()
    channel.send(SERIAL.pack(snapshot.serial))
    _beat(channel, state)
    await ending.wait()
    await server.drain(inheritance.config.server.grace_seconds)
    chat.close()
    if gate is not None:
        await gate.close()
    return 0


def _make_gate(inheritance: Inheritance, log: Log) -> Gate | None:
    if inheritance.till is None:
        return None
    gate = payment.make_gate(inheritance.till, inheritance.config, inheritance.provisioned, log)
    payment.report_hourly(gate.tally)
    return gate


def _make_router(
    inheritance: Inheritance, state: State, dispatch: Dispatch, log: Log, memory: Memory
) -> Router:
    config = inheritance.config
    admission = partial(
        Admission, inheritance.replays, state.keyset, window=config.replay.window_seconds
    )

    def report(failure: Exception) -> None:
        log.event("request_failed", kind=type(failure).__name__, at=_place(failure))

    gateway = Gateway(
        state.opening_keys,
        dispatch,
        admit=admission(require_date=config.replay.require_date),
        # A bare JSON request has nowhere to put a Date.
        admit_bare=admission(require_date=False) if config.chat.bare_json else None,
        report=report,
        aside=Beside().do,
    )
    pacer = _make_pacer(config.stream, report, memory)
    standing = state.standing if config.cluster.enabled else None
    return make_router(state, gateway, pacer, standing=standing)


def _make_pacer(stream: StreamTable, report: Report, memory: Memory) -> AnyPacer:
    if stream.padding == "off":
        return partial(unpadded, memory=memory)
    series = GeometricSeries(stream.series_first, stream.series_ratio)
    shape = Shape(stream.tick_milliseconds / 1000, stream.chunk_bytes, series)
    return Pacer(shape, report, memory)


def _listen_to_parent(
    state: State, signing_keys: SigningKeys, channel: socket.socket
) -> asyncio.Event:
    """Take every snapshot that the parent sends; the event is set when it says to end."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    def receive() -> None:
        message = channel.recv(MAX_SNAPSHOT_BYTES)
        if not message:
            os._exit(EXIT_FAILED)  # without a parent nobody would take the keys away in time
        snapshot = decode_snapshot(message, signing_keys)
        state.replace(snapshot)
        channel.send(SERIAL.pack(snapshot.serial))

    channel.setblocking(False)
    loop.add_reader(channel, receive)
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    return ending


def _end_without_readers(ending: asyncio.Event, log: Log) -> None:
    """End in an orderly way: the worker that comes instead has readers again."""
    log.event("readers_ended")
    ending.set()


def _beat(channel: socket.socket, state: State) -> None:
    """Tell the parent, now and again and again, that the event loop turns."""
    # A parent that is slow to listen has beats enough to read; one that is gone ends us elsewhere.
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        channel.send(SERIAL.pack(state.serial))
    asyncio.get_running_loop().call_later(BEAT_SECONDS, _beat, channel, state)


def _place(failure: BaseException) -> str:
    """Return the file and line where `failure` was raised."""
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "nowhere"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
