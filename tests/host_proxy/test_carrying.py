"""host_proxy carries bytes as they are, each direction for itself, and passes on every end."""

import contextlib
import hashlib
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from select import EPOLLERR, EPOLLIN
from typing import Any

import pytest

from host_proxy.carrying import VSOCK_WRITE_BYTES, Ending, Pair
from host_proxy.loop import Loop
from host_proxy.pipes import PipePool
from tests.support.host_proxy_process import (
    DEADLINE,
    ProxyProcess,
    accept,
    connect_tcp,
    connect_unix,
    in_background,
    listen_tcp,
    listen_unix,
    read_all,
    read_exactly,
    running,
    until,
)

BULK = 24 << 20
RESET = struct.pack("ii", 1, 0)


class Stand:
    """A proxy between TCP clients and an upstream that the test plays."""

    def __init__(self, proxy: ProxyProcess, upstream: socket.socket) -> None:
        self.proxy = proxy
        self.upstream = upstream
        (self.port,) = proxy.ports()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        return connect_tcp(self.port), accept(self.upstream)


@pytest.fixture(params=["unix", "tcp"])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    if request.param == "unix":
        upstream, target = listen_unix(tmp_path / "up"), f"unix:{tmp_path / 'up'}"
    else:
        upstream = listen_tcp()
        target = f"tcp://127.0.0.1:{upstream.getsockname()[1]}"
    with upstream, running("--listen", "tcp://127.0.0.1:0", "--connect", target) as proxy:
        yield Stand(proxy, upstream)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_small_messages_arrive_unchanged_both_ways(stand: Stand) -> None:
    client, server = stand.pair()
    with client, server:
        for size in (1, 2, 100, 8192, 70_000):
            client.sendall(noise(size))
            assert read_exactly(server, size) == noise(size)
            server.sendall(noise(size + 1))
            assert read_exactly(client, size + 1) == noise(size + 1)


def test_bulk_arrives_unchanged_both_ways_at_once(stand: Stand) -> None:
    client, server = stand.pair()
    data = noise(BULK)
    with client, server:
        threads = [in_background(partial(_send_all, sock, data)) for sock in (client, server)]
        received: dict[str, bytes] = {}
        reader = in_background(lambda: received.update(server=read_all(server)))
        received["client"] = read_all(client)
        for thread in (*threads, reader):
            thread.join(DEADLINE)
    assert {name: hashlib.sha256(got).digest() for name, got in received.items()} == dict.fromkeys(
        ("client", "server"), hashlib.sha256(data).digest()
    )


def _send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_nothing_is_added_before_the_first_byte(stand: Stand) -> None:
    client, server = stand.pair()
    with client, server:
        assert select.select([server], [], [], 0.2)[0] == []
        client.sendall(b"x")
        assert server.recv(100) == b"x"


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_close_leaves_the_other_direction_open(stand: Stand, first: str) -> None:
    one, other = stand.pair() if first == "client" else stand.pair()[::-1]
    with one, other:
        one.sendall(b"the whole question")
        one.shutdown(socket.SHUT_WR)
        assert read_all(other) == b"the whole question"
        time.sleep(0.1)
        other.sendall(noise(300_000))
        assert read_exactly(one, 300_000) == noise(300_000)
        other.sendall(b"and the end")
        other.shutdown(socket.SHUT_WR)
        assert read_all(one) == b"and the end"
    until(lambda: stand.proxy.counters()["active"] == 0)
    assert stand.proxy.counters()["ended"]["finished"] == 1


@pytest.mark.parametrize("blocked", ["client", "upstream"])
def test_a_blocked_direction_does_not_stop_the_other(stand: Stand, blocked: str) -> None:
    reader, writer = stand.pair() if blocked == "client" else stand.pair()[::-1]
    with reader, writer:  # `reader` does not read for now
        writer.setblocking(False)
        stuffed = _stuff(writer)
        for _ in range(50):
            reader.sendall(noise(8192))
            writer.settimeout(DEADLINE)
            assert read_exactly(writer, 8192) == noise(8192)
        assert len(read_exactly(reader, stuffed)) == stuffed


def _stuff(sock: socket.socket) -> int:
    """Send until nothing has gone for half a second; the number of bytes that went."""
    sent = 0
    while select.select([], [sock], [], 0.5)[1]:
        try:
            sent += sock.send(bytes(1 << 16))
        except BlockingIOError:
            continue
    return sent


def test_backpressure_bounds_what_the_proxy_takes(stand: Stand) -> None:
    client, server = stand.pair()
    with client, server:
        client.setblocking(False)
        sent = _stuff(client)
        assert _resident(stand.proxy.pid) < 64 << 20
        client.settimeout(DEADLINE)
        client.shutdown(socket.SHUT_WR)
        assert len(read_all(server)) == sent


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_client_that_was_reset_is_noticed_upstream(stand: Stand) -> None:
    client, server = stand.pair()
    with server:
        client.sendall(b"question")
        assert read_exactly(server, 8) == b"question"
        _reset(client)
        _sees_a_broken_connection(server)
    assert stand.proxy.counters()["ended"]["aborted"] == 1


def test_a_client_that_was_reset_while_blocked_is_noticed_upstream(stand: Stand) -> None:
    client, server = stand.pair()
    with server:
        client.setblocking(False)
        _stuff(client)  # the proxy has stopped reading from this client
        _reset(client)
        until(lambda: stand.proxy.counters()["ended"]["aborted"] == 1)


def test_a_client_that_vanished_after_its_request_is_noticed_by_the_next_byte(
    stand: Stand,
) -> None:
    """A front closes in order; the gateway finds out by probing while it makes its answer."""
    client, server = stand.pair()
    with server:
        client.sendall(b"question")
        client.close()
        assert read_all(server) == b"question"
        until(lambda: _refuses(server, b"HTTP/1.1 102 Processing\r\n\r\n"))


def _refuses(sock: socket.socket, data: bytes) -> bool:
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def _sees_a_broken_connection(sock: socket.socket) -> None:
    """A TCP peer is reset; a Unix peer reads the end and cannot write any more."""
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        return
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.sendall(b"x" * 100)


def test_an_upstream_that_was_reset_resets_the_client(tmp_path: Path) -> None:
    with listen_tcp() as upstream:
        target = f"tcp://127.0.0.1:{upstream.getsockname()[1]}"
        with running("--listen", "tcp://127.0.0.1:0", "--connect", target) as proxy:
            client, server = connect_tcp(proxy.ports()[0]), accept(upstream)
            with client:
                server.sendall(b"half an ans")
                assert read_exactly(client, 11) == b"half an ans"
                _reset(server)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)


def test_an_answer_before_the_end_of_the_upload_reaches_the_client(tmp_path: Path) -> None:
    """The upstream answers, reads no more and closes, while the client still sends."""
    with (
        listen_unix(tmp_path / "up") as upstream,
        running("--listen", "tcp://127.0.0.1:0", "--connect", f"unix:{tmp_path / 'up'}") as proxy,
    ):
        client, server = connect_tcp(proxy.ports()[0]), accept(upstream)
        with client:
            client.sendall(b"first part")
            assert read_exactly(server, 10) == b"first part"
            server.sendall(b"413 too large")
            server.close()
            for _ in range(100):
                client.sendall(bytes(10_000))
            assert read_all(client) == b"413 too large"
        until(lambda: proxy.counters()["active"] == 0)
        assert proxy.counters()["ended"]["curtailed"] == 1


def test_a_client_that_sends_on_after_the_end_of_the_answer_is_let_go(tmp_path: Path) -> None:
    with (
        listen_unix(tmp_path / "up") as upstream,
        running("--listen", "tcp://127.0.0.1:0", "--connect", f"unix:{tmp_path / 'up'}") as proxy,
    ):
        client, server = connect_tcp(proxy.ports()[0]), accept(upstream)
        with client:
            server.sendall(b"answer")
            server.close()
            assert read_all(client) == b"answer"
            client.sendall(b"and another thing")
            until(lambda: proxy.counters()["ended"]["curtailed"] == 1)
            assert proxy.counters()["active"] == 0


@pytest.mark.parametrize("dying", ["client", "upstream"])
def test_a_reader_that_dies_while_it_blocks_ends_the_writer(stand: Stand, dying: str) -> None:
    reader, writer = stand.pair() if dying == "client" else stand.pair()[::-1]
    with writer:
        writer.setblocking(False)
        _stuff(writer)
        _reset(reader)  # of a Unix socket: closed with bytes unread
        until(lambda: stand.proxy.counters()["active"] == 0)
        assert stand.proxy.counters()["ended"]["aborted"] == 1
        writer.settimeout(DEADLINE)
        _sees_a_broken_connection(writer)


@pytest.mark.parametrize("mute", ["client", "upstream"])
def test_a_refused_shutdown_means_that_the_peer_is_gone(mute: str) -> None:
    """vsock refuses to shut down a socket whose peer has closed; here one was never connected."""
    carried = Carried(PipePool())
    half = carried.pair.client if mute == "client" else carried.pair.upstream
    with socket.socket() as never:
        half.sock, real = never, half.sock
        other = carried.server if mute == "client" else carried.client
        other.shutdown(socket.SHUT_WR)
        carried.run_for(DEADLINE if mute == "client" else 0.1)
        half.sock = real
    endings = [carried.ending]
    if mute == "upstream":  # the client may still be given what the upstream has sent
        carried.server.sendall(b"answer")
        carried.server.shutdown(socket.SHUT_WR)
        carried.run_for(DEADLINE)
        assert read_exactly(carried.client, 6) == b"answer"
        endings.append(carried.ending)
    assert endings == ([Ending.ABORTED] if mute == "client" else [None, Ending.CURTAILED])
    carried.close()
    real.close()


def test_a_client_that_hung_up_in_order_costs_no_time(tmp_path: Path) -> None:
    """Level-triggered epoll repeats a hang-up for ever; the proxy must not listen to it."""
    with (
        listen_unix(tmp_path / "up") as upstream,
        running(
            "--listen", f"unix:{tmp_path / 'in'}", "--connect", f"unix:{tmp_path / 'up'}"
        ) as proxy,
    ):
        proxy.event("ready")
        client, server = connect_unix(tmp_path / "in"), accept(upstream)
        client.close()
        with server:
            assert read_all(server) == b""
            before = _cpu_ticks(proxy.pid)
            time.sleep(1)
            assert _cpu_ticks(proxy.pid) - before < 20


@pytest.mark.parametrize("gone", ["client", "upstream"])
def test_who_hung_up_while_both_directions_were_full_costs_no_time(
    tmp_path: Path, gone: str
) -> None:
    """Shut down and not closed, its socket stays full: epoll tells of a hang-up and no more."""
    with (
        listen_unix(tmp_path / "up") as upstream,
        running(
            "--listen", f"unix:{tmp_path / 'in'}", "--connect", f"unix:{tmp_path / 'up'}"
        ) as proxy,
    ):
        proxy.event("ready")
        client, server = connect_unix(tmp_path / "in"), accept(upstream)
        with client, server:
            for sock in (client, server):
                sock.setblocking(False)
                _stuff(sock)
            (client if gone == "client" else server).shutdown(socket.SHUT_RDWR)
            before = _cpu_ticks(proxy.pid)
            time.sleep(1)
            assert _cpu_ticks(proxy.pid) - before < 20


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_many_connections_do_not_mix(stand: Stand) -> None:
    pairs = [stand.pair() for _ in range(100)]
    for number, (client, _) in enumerate(pairs):
        client.sendall(b"%d" % number)
        client.shutdown(socket.SHUT_WR)
    for number, (client, server) in enumerate(pairs):
        assert read_all(server) == b"%d" % number
        server.sendall(b"re %d" % number)
        server.close()
        assert read_all(client) == b"re %d" % number
        client.close()


def test_idle_connections_hold_neither_pipes_nor_buffers(stand: Stand) -> None:
    pairs = [stand.pair() for _ in range(20)]
    for client, server in pairs:
        for sender, reader in ((client, server), (server, client)):
            job = in_background(partial(sender.sendall, noise(4 << 20)))
            assert read_exactly(reader, 4 << 20) == noise(4 << 20)
            job.join(DEADLINE)
    stand.proxy.counters()
    assert stand.proxy.events("counters")[-1]["pipes"] == 0
    before = _resident(stand.proxy.pid)
    pairs += [stand.pair() for _ in range(200)]
    until(lambda: stand.proxy.counters()["active"] == 220)
    assert _resident(stand.proxy.pid) - before < 200 * 8192
    for client, server in pairs:
        client.close()
        server.close()


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_socat_on_both_sides(tmp_path: Path) -> None:
    data = noise(3 << 20)
    upstream = tmp_path / "up"
    with subprocess.Popen(["socat", f"UNIX-LISTEN:{upstream}", "EXEC:sha256sum"]) as server:
        until(upstream.exists)
        with running("--listen", f"unix:{tmp_path / 'in'}", "--connect", f"unix:{upstream}") as p:
            p.event("ready")
            answer = subprocess.run(
                ["socat", "-t", "20", "-", f"UNIX-CONNECT:{tmp_path / 'in'}"],
                input=data,
                capture_output=True,
                timeout=DEADLINE,
                check=True,
            ).stdout
        server.wait(DEADLINE)
    assert answer.split()[0] == hashlib.sha256(data).hexdigest().encode()


class Vsock(socket.socket):
    """A socket that says that it is of vsock's family, and keeps the size of each write."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM, fileno=sock.detach())
        self.writes: list[int] = []

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_VSOCK

    def send(self, data: Any, flags: int = 0) -> int:
        self.writes.append(len(data))
        return super().send(data, flags)


class Carried:
    """A pair in this process, so that the kernel's refusals can be played."""

    def __init__(self, pipes: PipePool, vsock: str = "") -> None:
        self.client, inner_client = socket.socketpair()
        self.server, inner_server = socket.socketpair()
        if vsock == "client":
            inner_client = Vsock(inner_client)
        elif vsock == "server":
            inner_server = Vsock(inner_server)
        for sock in (inner_client, inner_server):
            sock.setblocking(False)
        self.loop = Loop()
        self.ending: Ending | None = None
        self.pair = Pair(self.loop, pipes, (inner_client, inner_server), self._over)

    def _over(self, pair: Pair, ending: Ending) -> None:
        self.ending = ending
        self.loop.stop()

    def run_for(self, seconds: float) -> None:
        """Carry until the pair is over, for so long at most."""
        self.loop.later(seconds, self.loop.stop)
        self.loop.run()

    def close(self) -> None:
        self.pair.abort()
        self.loop.shut_down()
        self.client.close()
        self.server.close()


def test_bulk_is_copied_when_there_is_no_pipe_to_be_had() -> None:
    carried = Carried(PipePool(limit=0))
    _send_and_compare(carried)
    carried.close()


@pytest.mark.parametrize("refuse", ["read", "write"])
def test_bulk_is_copied_where_the_kernel_cannot_splice(
    refuse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes = PipePool()
    carried = Carried(pipes)
    real, refused = os.splice, []

    def splice(src: int, dst: int, count: int, *, flags: int) -> int:
        if refuse == ("read" if src == carried.pair.client.fd else "write"):
            refused.append(src)
            raise OSError(22, "Invalid argument")
        return real(src, dst, count, flags=flags)

    monkeypatch.setattr(os, "splice", splice)
    _send_and_compare(carried)
    assert len(refused) == 1  # it is not tried again
    assert pipes.lent == 0
    assert len(pipes._spare) == 1  # what it held has been taken out of it
    carried.close()
    pipes.close()


def test_what_comes_in_small_pieces_after_bulk_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    carried = Carried(PipePool())
    _send_and_compare(carried)
    real, spliced = os.splice, []

    def splice(src: int, dst: int, count: int, *, flags: int) -> int:
        spliced.append(src)
        return real(src, dst, count, flags=flags)

    monkeypatch.setattr(os, "splice", splice)
    for _ in range(4):
        carried.client.sendall(b"x")
        carried.run_for(0.05)
        assert read_exactly(carried.server, 1) == b"x"
    assert len(spliced) <= 2  # of the first, until it is seen to be small
    carried.close()


def _send_and_compare(carried: Carried) -> None:
    data = noise(1 << 20)
    received: list[bytes] = []
    sender = in_background(lambda: carried.client.sendall(data))
    reader = in_background(lambda: received.append(read_exactly(carried.server, len(data))))
    end = time.monotonic() + DEADLINE
    while reader.is_alive() and time.monotonic() < end:
        carried.run_for(0.05)
    sender.join(DEADLINE)
    reader.join(DEADLINE)
    assert received == [data]


@pytest.mark.parametrize("pipes", [0, 128], ids=["copied", "spliced"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_no_write_to_vsock_is_above_28_kib(
    side: str, pipes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever side is vsock, however much comes at once, and also after it had to wait."""
    carried = Carried(PipePool(pipes), side)
    half = carried.pair.client if side == "client" else carried.pair.upstream
    assert isinstance(half.sock, Vsock)
    writes, real = half.sock.writes, os.splice

    def splice(src: int, dst: int, count: int, *, flags: int) -> int:
        if dst == half.fd:
            writes.append(count)
        return real(src, dst, count, flags=flags)

    monkeypatch.setattr(os, "splice", splice)
    data = noise(8 << 20)
    source, sink = (carried.server, carried.client)
    if side == "server":
        source, sink = sink, source
    received: list[bytes] = []
    sender = in_background(lambda: source.sendall(data))
    carried.run_for(0.3)  # until the sink's buffers are full
    reader = in_background(lambda: received.append(read_exactly(sink, len(data))))
    end = time.monotonic() + DEADLINE
    while reader.is_alive() and time.monotonic() < end:
        carried.run_for(0.05)
    sender.join(DEADLINE)
    assert received == [data]
    assert max(writes) == VSOCK_WRITE_BYTES == 28_672
    assert sum(writes) >= len(data)
    carried.close()


def test_every_piece_of_an_answer_ends_the_silence() -> None:
    carried = Carried(PipePool())
    silences = []
    for now in (10, 12, 14):
        carried.server.sendall(b"piece")
        carried.run_for(0.05)
        silences += [carried.pair.answered_for(now), carried.pair.answered_for(now + 1.5)]
    assert silences == [0, 1.5] * 3
    carried.close()


def test_bulk_ends_the_silence_as_well() -> None:
    carried = Carried(PipePool())
    carried.server.sendall(b"piece")
    carried.run_for(0.05)
    assert carried.pair.latest is carried.pair.upstream
    carried.pair.client._bulk = True  # as after a read of so much
    carried.client.sendall(b"more of an upload")
    carried.run_for(0.05)
    assert carried.pair.latest is carried.pair.client
    assert read_exactly(carried.server, 17) == b"more of an upload"
    carried.close()


def test_what_is_silent_after_an_answer_is_told_from_what_awaits_one() -> None:
    carried = Carried(PipePool())
    pair = carried.pair
    silences = [(pair.answered_for(0), pair.answered_for(5))]  # nothing has been said at all
    for speaker in (carried.client, carried.server):
        speaker.sendall(b"x")
        carried.run_for(0.05)
        silences.append((pair.answered_for(10), pair.answered_for(15)))
    carried.client.setblocking(False)
    _stuff(carried.client)
    while not pair.client.blocked:
        _stuff(carried.client)
        carried.run_for(0.05)
    carried.server.sendall(b"x")
    carried.run_for(0.05)  # the upload waits for its reader: the exchange goes on
    silences.append((pair.answered_for(20), pair.answered_for(25)))
    assert silences == [(0, 5), (0, 0), (0, 5), (0, 0)]
    carried.close()


def test_a_pair_is_over_once() -> None:
    carried = Carried(PipePool())
    endings: list[Ending] = []
    carried.pair._on_over = lambda _, ending: endings.append(ending)
    carried.pair.abort()
    assert carried.pair.over
    carried.pair.finish(Ending.FINISHED)
    assert endings == [Ending.ABORTED]
    carried.close()


def test_an_event_without_a_cause_does_nothing() -> None:
    carried = Carried(PipePool())
    carried.pair.client.ready(EPOLLIN)
    carried.pair.client.flush()
    assert not carried.pair.over
    assert carried.pair.latest is None
    carried.close()


def test_an_error_on_a_side_that_nobody_reads_ends_the_pair() -> None:
    carried = Carried(PipePool())
    carried.client.shutdown(socket.SHUT_WR)
    carried.run_for(0.05)
    carried.pair.client.ready(EPOLLERR)
    assert carried.ending is Ending.ABORTED
    carried.close()


def break_in_bulk(
    carried: Carried, monkeypatch: pytest.MonkeyPatch, is_broken: Callable[[int, int], bool]
) -> None:
    """Send until bulk has begun; splices from and to these descriptors fail."""
    real, calls = os.splice, []

    def splice(src: int, dst: int, count: int, *, flags: int) -> int:
        calls.append(src)
        if is_broken(src, dst):
            raise BrokenPipeError(32, "Broken pipe")
        return real(src, dst, count, flags=flags)

    monkeypatch.setattr(os, "splice", splice)
    carried.client.setblocking(False)
    carried.server.setblocking(False)
    while not calls:
        with contextlib.suppress(BlockingIOError):
            carried.client.send(bytes(1 << 18))
        carried.run_for(0.01)
        with contextlib.suppress(BlockingIOError):
            carried.server.recv(1 << 20)
    carried.client.settimeout(DEADLINE)


def test_a_client_that_breaks_in_the_middle_of_bulk_ends_the_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipes = PipePool()
    carried = Carried(pipes)
    break_in_bulk(carried, monkeypatch, lambda src, _: src == carried.pair.client.fd)
    assert carried.ending is Ending.ABORTED
    assert pipes.lent == 0
    carried.close()
    pipes.close()


def test_bulk_that_is_given_up_on_its_way_leaves_no_pipe_behind() -> None:
    pipes = PipePool()
    carried = Carried(pipes)
    carried.client.setblocking(False)
    deadline = time.monotonic() + DEADLINE
    while not pipes.lent or not carried.pair.upstream.peer.blocked:  # nobody reads at the other end
        assert time.monotonic() < deadline
        with contextlib.suppress(BlockingIOError):
            carried.client.send(bytes(1 << 20))
        carried.run_for(0.01)
    carried.pair.abort()
    assert pipes.lent == 0
    carried.close()
    pipes.close()


def test_what_is_held_of_an_upload_is_forgotten_with_it() -> None:
    carried = Carried(PipePool(limit=0))  # so that it is held in memory
    half = carried.pair.client
    carried.client.setblocking(False)
    deadline = time.monotonic() + DEADLINE
    while not half.blocked:  # nobody reads at the other end
        assert time.monotonic() < deadline
        with contextlib.suppress(BlockingIOError):
            carried.client.send(bytes(1 << 20))
        carried.run_for(0.01)
    assert half._held is not None
    half.drop()
    assert carried.pair.client._held is None
    carried.close()


def test_an_upstream_that_takes_no_more_bulk_may_yet_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipes = PipePool()
    carried = Carried(pipes)
    break_in_bulk(carried, monkeypatch, lambda _, dst: dst == carried.pair.upstream.fd)
    assert (carried.ending, pipes.lent) == (None, 0)
    carried.server.sendall(b"answer")
    carried.server.shutdown(socket.SHUT_WR)
    carried.run_for(DEADLINE)
    assert carried.ending is Ending.CURTAILED
    assert read_exactly(carried.client, 6) == b"answer"
    carried.close()
    pipes.close()


def test_an_upstream_that_has_answered_and_gone_leaves_time_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its end came first; then a write to it fails: the client has a while for the answer."""
    monkeypatch.setattr("host_proxy.carrying.LINGER_SECONDS", 0.5)
    carried = Carried(PipePool())
    carried.server.sendall(b"answer")
    carried.server.shutdown(socket.SHUT_WR)
    carried.run_for(0.05)
    carried.server.close()
    carried.client.sendall(b"more")
    carried.run_for(0.05)
    endings = [carried.ending]
    carried.client.sendall(b"and more")  # which is read, so that no reset destroys the answer
    assert read_all(carried.client) == b"answer"
    carried.run_for(DEADLINE)
    assert [*endings, carried.ending] == [None, Ending.CURTAILED]
    carried.close()


def test_the_kernel_moves_bulk_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    splice = os.splice

    def watched(source: int, target: int, count: int, *, flags: int) -> int:
        asked.append(flags)
        return splice(source, target, count, flags=flags)

    monkeypatch.setattr(os, "splice", watched)
    carried = Carried(PipePool())
    data = noise(1 << 20)
    sending = in_background(partial(_send_all, carried.client, data))
    received: list[bytes] = []
    reading = in_background(lambda: received.append(read_exactly(carried.server, len(data))))
    end = time.monotonic() + DEADLINE
    while not received and time.monotonic() < end:
        carried.run_for(0.1)
    for thread in (sending, reading):
        thread.join(DEADLINE)
    carried.close()
    assert received == [data]
    assert asked
    assert set(asked) == {os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK}
