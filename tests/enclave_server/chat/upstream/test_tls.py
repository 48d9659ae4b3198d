"""TLS between buffers in memory, against the standard library's server side."""

import asyncio
import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from enclave_server.chat.errors import Failure
from enclave_server.chat.upstream.connections import UpstreamConnections
from enclave_server.chat.upstream.dialing import connect
from enclave_server.chat.upstream.stream import READ_AHEAD
from enclave_server.chat.upstream.tls import IDLE_BYTES, RECORD_BYTES, Tls
from enclave_server.chat.upstream.trust import ssl_context
from tests.support.upstream import Behaviour, Exchange, StandInUpstream
from tests.support.upstream_connection import (
    DEADLINE,
    NAME,
    Authority,
    ask,
    body_of,
    failure_of,
    post,
    read,
)


class Server:
    """The other side, between buffers too."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.arrived, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.arrived, self.to_send, server_side=True)

    def take(self, data: bytes) -> None:
        self.arrived.write(data)

    def say(self, data: bytes) -> bytes:
        self.object.write(data)
        return self.to_send.read()


def shaken(
    authority: Authority, context: ssl.SSLContext | None = None, **server: ssl.TLSVersion
) -> tuple[Tls, Server]:
    """Return both sides after their handshake."""
    context = context or authority.server()
    for name, value in server.items():
        setattr(context, name, value)
    ours, theirs = Tls(authority.client(), NAME), Server(context)
    done = False
    while not (ours.shake_hands() and done):
        if data := ours.pending():
            theirs.take(data)
        try:
            theirs.object.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        if data := theirs.to_send.read():
            ours.receive(data)
    theirs.take(ours.pending())
    return ours, theirs


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_octets_pass_both_ways_however_they_are_split(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    ours, theirs = shaken(Authority(tmp_path), maximum_version=version)
    assert theirs.object.version() == version.name.replace("v1_", "v1.")
    assert ours.decrypt(b"") == b""  # tickets are no octets
    for piece in ours.encrypt(b"to the server"):
        theirs.take(piece)
    assert theirs.object.read(100) == b"to the server"
    records = theirs.say(b"to") + theirs.say(b" the") + theirs.say(b" client")
    assert ours.decrypt(records[:10]) == b""
    assert ours.decrypt(records[10:]) == b"to the client"
    apart = theirs.say(b"again")
    assert b"".join(ours.decrypt(apart[i : i + 1]) for i in range(len(apart))) == b"again"
    assert not ours.is_closed


def test_long_request_is_encrypted_a_record_at_a_time(tmp_path: Path) -> None:
    """What OpenSSL's buffer once held, it never gives back."""
    ours, theirs = shaken(Authority(tmp_path))
    data = bytes(range(256)) * (3 * RECORD_BYTES // 256) + b"rest"
    taken = bytearray()
    sizes = []
    for piece in ours.encrypt(data):
        sizes.append(len(piece))
        theirs.take(piece)
        taken += theirs.object.read(1 << 20)
    assert bytes(taken) == data
    assert len(sizes) == 4
    assert max(sizes) < RECORD_BYTES + 1024


def test_closure_is_told_and_nothing_after_it_read(tmp_path: Path) -> None:
    ours, theirs = shaken(Authority(tmp_path))
    last = theirs.say(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        theirs.object.unwrap()
    assert ours.decrypt(last + theirs.to_send.read()) == b"last words"
    assert ours.is_closed
    assert ours.decrypt(b"\x17\x03\x03\x00\x01x") == b""


def test_changed_record_is_an_error(tmp_path: Path) -> None:
    ours, theirs = shaken(Authority(tmp_path))
    record = bytearray(theirs.say(b"words"))
    record[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        ours.decrypt(bytes(record))


@pytest.mark.parametrize("name", [None, ""])
def test_without_a_name_nothing_is_compared_so_that_it_is_refused(
    name: str | None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no name"):
        Tls(Authority(tmp_path).client(), name)


# Records that say nothing.


def expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, Section 7.1) without a context."""
    name = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return HKDFExpand(SHA384(), size, info).derive(secret)


class Records:
    """The server's records after its handshake, made by hand: it says what no library lets us."""

    def __init__(self, secret: bytes) -> None:
        self._secret, self._sequence = secret, 0

    def write(self, content: bytes, kind: int) -> bytes:
        inner = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(expanded(self._secret, b"iv", 12)) ^ self._sequence
        self._sequence += 1
        cipher = AESGCM(expanded(self._secret, b"key", 32))
        return header + cipher.encrypt(nonce.to_bytes(12, "big"), inner, header)

    def update(self) -> bytes:
        """A KeyUpdate that asks for one in return (RFC 8446, Section 4.6.3)."""
        record = self.write(b"\x18\0\0\1\1", 22)
        self._secret, self._sequence = expanded(self._secret, b"traffic upd", 48), 0
        return record

    def say(self, text: bytes) -> bytes:
        return self.write(text, 23)


def by_hand(folder: Path) -> tuple[Tls, Records]:
    authority = Authority(folder)
    context, keys = authority.server(), folder / "keys"
    context.num_tickets = 0
    context.keylog_filename = str(keys)
    ours, _ = shaken(authority, context)
    found = re.search(r"^SERVER_TRAFFIC_SECRET_0 \w+ (\w+)$", keys.read_text(), re.MULTILINE)
    assert found is not None
    return ours, Records(bytes.fromhex(found[1]))


def test_keys_may_be_updated_now_and_then(tmp_path: Path) -> None:
    ours, theirs = by_hand(tmp_path)
    for number in range(3000):
        assert ours.decrypt(theirs.update()) == b""
        assert len(ours.pending()) < 64
        assert ours.decrypt(theirs.say(b"%d" % number)) == b"%d" % number


@pytest.mark.parametrize("kind", ["update", "empty"])
def test_records_that_say_nothing_have_an_end(tmp_path: Path, kind: str) -> None:
    ours, theirs = by_hand(tmp_path)
    records = iter(theirs.update if kind == "update" else lambda: theirs.say(b""), None)
    taken = 0

    def take_all() -> None:
        nonlocal taken
        while taken <= 2 * IDLE_BYTES:
            record = next(records)
            assert ours.decrypt(record) == b""
            taken += len(record)

    with pytest.raises(ssl.SSLError):
        take_all()
    assert 0 < taken <= IDLE_BYTES


def test_a_record_that_comes_in_pieces_says_something_in_the_end(tmp_path: Path) -> None:
    ours, theirs = by_hand(tmp_path)
    said = bytes(RECORD_BYTES)
    for _ in range(20):
        record = theirs.say(said)
        apart = [record[at : at + 1000] for at in range(0, len(record), 1000)]
        assert b"".join(map(ours.decrypt, apart)) == said


# In a stream.


def served(authority: Authority, upstream: StandInUpstream) -> UpstreamConnections:
    return UpstreamConnections(authority.upstream(upstream.address))


@pytest.mark.parametrize("version", VERSIONS)
def test_exchanges_over_one_connection(version: ssl.TLSVersion, tmp_path: Path) -> None:
    """In both versions; in TLS 1.3 tickets arrive while it is idle, which do not spoil it."""

    async def scenario() -> None:
        authority = Authority(tmp_path)
        server = authority.server()
        server.maximum_version = version
        async with StandInUpstream(tls=server) as upstream:
            connections = served(authority, upstream)
            for pause in (0.0, 0.02, 0.0):
                assert b"choices" in await ask(connections, b'{"x":"%b"}' % (b"y" * 100_000))
                await asyncio.sleep(pause)
            assert (upstream.connections, len(upstream.requests)) == (1, 3)
            assert len(upstream.requests[0].body) == 100_000 + 8
            connections.close()

    asyncio.run(scenario())


def until_close(shut: bool) -> Behaviour:
    """Answer with a body that ends with the connection, with TLS's closure or without it."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: application/json")
        await exchange.send(b"{}")
        await asyncio.sleep(0.02)
        if shut:
            exchange.writer.close()
        else:
            exchange.abort()

    return behave


def test_body_until_close_needs_the_closure_of_tls(tmp_path: Path) -> None:
    """Anybody on the way can cut a TCP connection."""

    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with StandInUpstream(until_close(True), tls=authority.server()) as upstream:
            connections = served(authority, upstream)
            assert await ask(connections) == b"{}"
            upstream.behaviour = until_close(False)
            assert await failure_of(connections) is Failure.BROKEN

    asyncio.run(scenario())


def test_body_of_known_length_does_not_need_the_closure_of_tls(tmp_path: Path) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.whole(200, b"{}")
        await asyncio.sleep(0.02)
        exchange.abort()

    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with StandInUpstream(cut, tls=authority.server()) as upstream:
            connections = served(authority, upstream)
            response = await post(connections)
            await asyncio.sleep(0.05)
            assert await body_of(response) == b"{}"

    asyncio.run(scenario())


def test_server_that_waits_for_the_closure_sees_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        authority = Authority(tmp_path)

        async def wait(exchange: Exchange) -> None:
            await exchange.head(200, "Content-Type: application/json")
            await exchange.wait_gone()

        async with StandInUpstream(wait, tls=authority.server()) as upstream:
            connections = served(authority, upstream)
            response = await post(connections)
            await response.close()
            async with asyncio.timeout(DEADLINE):
                while not upstream.gone:
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_garbage_amid_tls_breaks_the_stream(tmp_path: Path) -> None:
    async def spoil(exchange: Exchange) -> None:
        sock = exchange.writer.get_extra_info("socket")
        sock._sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await exchange.wait_gone()

    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with StandInUpstream(spoil, tls=authority.server()) as upstream:
            assert await failure_of(served(authority, upstream)) is Failure.BROKEN

    asyncio.run(scenario())


def spoiling(octets: bytes) -> Behaviour:
    """Send octets beside TLS, then close without TLS's closure."""

    async def behave(exchange: Exchange) -> None:
        sock = exchange.writer.get_extra_info("socket")
        if octets:
            sock._sock.send(octets)
        await asyncio.sleep(0.02)
        exchange.abort()

    return behave


async def closing(exchange: Exchange) -> None:
    """Close with TLS's closure, and without an answer."""
    exchange.writer.close()


@pytest.mark.parametrize(
    ("spoil", "requests"),
    [
        (closing, 3),
        (spoiling(b""), 3),
        (spoiling(b"\x17\x03\x03\x00\x20half of a record"), 2),
        (spoiling(b"\x17\x03\x03\x00\x20" + bytes(32)), 2),
        (spoiling(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 2),
    ],
)
def test_only_silence_on_a_kept_connection_is_tried_again(
    spoil: Behaviour, requests: int, tmp_path: Path
) -> None:
    """An octet of TLS is an octet of an answer, unless it is TLS's closure."""

    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with StandInUpstream(tls=authority.server()) as upstream:
            connections = served(authority, upstream)
            await ask(connections)
            await asyncio.sleep(0.02)  # tickets come, which are no answer
            upstream.behaviour = spoil
            assert await failure_of(connections) is Failure.BROKEN
            assert len(upstream.requests) == requests
            assert connections.counts.repeated == requests - 2

    asyncio.run(scenario())


def test_reading_stops_when_nobody_reads(tmp_path: Path) -> None:
    size = 8 * 1024 * 1024

    async def flood(exchange: Exchange) -> None:
        await exchange.send(b"x" * size)

    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with StandInUpstream(flood, tls=authority.server()) as upstream:
            target = authority.upstream(upstream.address)
            stream = await connect(target, ssl_context(target))
            stream.send(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            await asyncio.sleep(0.2)
            # One read and one record that began before it.
            assert READ_AHEAD <= len(stream._buffer) <= 2 * READ_AHEAD + RECORD_BYTES
            received = 0
            while received < size:
                received += len(await read(stream))
            assert received == size
            stream.close()

    asyncio.run(scenario())
