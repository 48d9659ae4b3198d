"""Chunked Oblivious HTTP: any framing of sealed chunks is opened alike, however it is cut.

The input says how chunks are sealed and framed, since the octets of a chunk cannot be guessed.
"""

from collections.abc import Callable

from protocol import chunked, varint
from protocol.chunked import RequestOpener, ResponseOpener
from protocol.encapsulation import GatewayKey, setup_client
from protocol.errors import KeyRejected, TruncatedMessage
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import REFUSED, Octets, Refused, attempt, same, ways

KEY = GatewayKey(1, bytes(range(32)))
EPHEMERAL = bytes(range(1, 33))
LABEL = b"message/bhttp chunked request"

FAULTS = (
    slips("protocol.chunked._not_empty", KeyRejected),
    slips("protocol.chunked._Opener.finish", TruncatedMessage),
    returns("protocol.chunked._Opener.feed", lambda pieces: pieces[:1]),
    replaced("protocol.chunked._not_empty", lambda plaintext: plaintext),
)

Seal = Callable[[bytes, bytes], bytes]


def seeds() -> list[bytes]:
    """Return framings of both kinds: orderly, empty, ended early, ended twice, and with garbage."""
    framings = [
        b"\0\3one\0\3two\1\4last",
        b"\1\0",
        b"\0\1a",
        b"\1\1a\1\1b",
        b"\2\3abc",
        b"\0\0\1\1a",
    ]
    return [kind + each for kind in (b"\0", b"\1") for each in framings] + [b"\2\4\7rest"]


def run(data: bytes) -> None:
    """Frame a message as `data` says, and open it in all ways."""
    octets = Octets(data)
    kind = octets.number() % 3
    expected: bytes | Refused = REFUSED
    if kind == 2:
        message = octets.rest()
    else:
        prefix, seal = _request() if kind == 0 else _response()
        message, expected = _framed(octets, prefix, seal)
    make = _response_opener if kind == 1 else _request_opener
    assert same(attempt(_opened, make(), pieces) for pieces in ways(message)) == expected


def _request() -> tuple[bytes, Seal]:
    prefix, sender = setup_client(KEY.config, LABEL, EPHEMERAL)
    return prefix, sender.seal


def _response() -> tuple[bytes, Seal]:
    sealer, _ = chunked.encapsulate_request(KEY.config, ephemeral=EPHEMERAL)
    opener = _request_opener()
    opener.feed(sealer.finish())
    return bytes(32), opener.finish()[1].seal_response(random=bytes)._require()


def _request_opener() -> RequestOpener:
    return chunked.decapsulate_request([KEY])


def _response_opener() -> ResponseOpener:
    return chunked.encapsulate_request(KEY.config, ephemeral=EPHEMERAL)[1].open_response()


def _opened(opener: RequestOpener | ResponseOpener, pieces: list[bytes]) -> bytes:
    said = [text for piece in pieces for text in opener.feed(piece)]
    final = opener.finish()
    return b"".join(said) + (final if isinstance(final, bytes) else final[0])


def _framed(octets: Octets, message: bytes, seal: Seal) -> tuple[bytes, bytes | Refused]:
    """Return a message that begins with `message`, and its plaintext if it is one."""
    plain = b""
    while octets:
        kind, text = octets.number() % 4, octets.piece()
        if kind == 1:  # the final chunk, behind which nothing may come
            message, behind = message + b"\0" + seal(text, b"final"), octets.rest()
            return message + behind, REFUSED if behind else plain + text
        sealed = text if kind == 2 else seal(text, b"final" if kind == 3 else b"")
        message += varint.encode(len(sealed)) + sealed
        if kind != 0 or not text:
            return message + b"\0" + seal(b"", b"final"), REFUSED
        plain += text
    return message, REFUSED
