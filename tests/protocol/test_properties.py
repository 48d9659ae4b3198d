"""Whatever a peer sends, decoders return a value or raise ProtocolError, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import chunked, encapsulation, varint
from protocol.binary_http import (
    Fields,
    Informational,
    Request,
    Response,
    ResponseDecoder,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from protocol.encapsulation import GatewayKey
from protocol.errors import ProtocolError
from protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from tests.support.vector_files import load

KEY = GatewayKey(1, bytes(range(32)))
EPHEMERAL = bytes(range(1, 33))
SEALED_REQUEST = encapsulation.encapsulate_request(KEY.config, b"x" * 40, ephemeral=EPHEMERAL)[0]


def chunked_request() -> bytes:
    sealer, _ = chunked.encapsulate_request(KEY.config, ephemeral=EPHEMERAL)
    return sealer.seal(b"x" * 20) + sealer.finish(b"y" * 20)


def chunked_response() -> bytes:
    opener = chunked.decapsulate_request([KEY])
    opener.feed(chunked_request())
    sealer = opener.finish()[1].seal_response()
    return sealer.seal(b"one") + sealer.finish(b"two")


def sealed_response() -> bytes:
    _, context = encapsulation.decapsulate_request([KEY], SEALED_REQUEST)
    return context.seal_response(b"z" * 40)


def decode_varint(data: bytes) -> None:
    varint.decode(data, 0)


def decode_response_in_pieces(data: bytes) -> None:
    decoder = ResponseDecoder()
    for at in range(0, len(data), 3):
        decoder.feed(data[at : at + 3])
    decoder.finish()


def open_request(data: bytes) -> None:
    encapsulation.decapsulate_request([KEY], data)


def open_response(data: bytes) -> None:
    _, client = encapsulation.encapsulate_request(KEY.config, b"x" * 40, ephemeral=EPHEMERAL)
    client.open_response(data)


def open_chunked_request(data: bytes) -> None:
    opener = chunked.decapsulate_request([KEY])
    opener.feed(data[:50])
    opener.feed(data[50:])
    opener.finish()


def open_chunked_response(data: bytes) -> None:
    _, client = chunked.encapsulate_request(KEY.config, ephemeral=EPHEMERAL)
    opener = client.open_response()
    opener.feed(data[:50])
    opener.feed(data[50:])
    opener.finish()


def binary_messages(*framings: int) -> list[bytes]:
    messages = [bytes.fromhex(case["hex"]) for case in load("binary-http.json")["cases"]]
    return [message for message in messages if message and message[0] in framings]


CONFIGS = [bytes.fromhex(case["hex"]) for case in load("key-configs.json")["cases"]]

DECODERS: dict[str, tuple[Callable[[bytes], Any], list[bytes]]] = {
    "varint": (decode_varint, [b"\xc0\0\0\0\0\0\0\0"]),
    "key configuration": (KeyConfig.decode, CONFIGS),
    "key configurations": (decode_key_configs, [encode_key_configs([KEY.config] * 2), *CONFIGS]),
    "encapsulated request": (open_request, [SEALED_REQUEST]),
    "encapsulated response": (open_response, [sealed_response()]),
    "chunked request": (open_chunked_request, [chunked_request()]),
    "chunked response": (open_chunked_response, [chunked_response()]),
    "binary request": (decode_request, binary_messages(0, 2)),
    "binary response": (decode_response, binary_messages(1, 3)),
    "binary response in pieces": (decode_response_in_pieces, binary_messages(1, 3)),
}


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Return one of `originals` with a few bytes changed, cut, repeated or put in."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        span = draw(st.integers(0, 4))
        replacement = draw(st.binary(max_size=4) | st.just(bytes(data[at : at + 8])))
        data[at : at + span] = replacement
    return bytes(data)


def only_protocol_errors(decode: Callable[[bytes], Any], data: bytes) -> None:
    try:
        decode(data)
    except ProtocolError:
        return


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=150)
@given(data=st.data())
def test_mutated_bytes(name: str, data: st.DataObject) -> None:
    decode, originals = DECODERS[name]
    only_protocol_errors(decode, data.draw(mutated(originals)))


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=150)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes(name: str, data: bytes) -> None:
    only_protocol_errors(DECODERS[name][0], data)


@settings(max_examples=300)
@given(data=mutated(binary_messages(1, 3)), size=st.integers(1, 7))
def test_a_response_in_pieces_is_the_same_response(data: bytes, size: int) -> None:
    """The decoder in pieces and the whole one agree on every mutation."""
    try:
        whole: Response | None = decode_response(data)
    except ProtocolError:
        whole = None
    decoder = ResponseDecoder()
    try:
        events = [
            event
            for at in range(0, len(data), size)
            for event in decoder.feed(data[at : at + size])
        ] + decoder.finish()
    except ProtocolError:
        assert whole is None
        return
    assert whole is not None
    assert b"".join(event for event in events if isinstance(event, bytes)) == whole.content


names = st.from_regex(rb"[a-z0-9\-]{1,12}", fullmatch=True)
values = st.from_regex(rb"([!-~\x80-\xff]([ -~\t\x80-\xff]{0,20}[!-~])?)?", fullmatch=True)
fields: st.SearchStrategy[Fields] = st.lists(st.tuples(names, values), max_size=5).map(tuple)
requests = st.builds(
    Request,
    st.from_regex(rb"[A-Z]{1,8}", fullmatch=True).filter(lambda method: method != b"CONNECT"),
    st.sampled_from([b"https", b"http"]),
    st.from_regex(rb"[a-z.:0-9]{0,20}", fullmatch=True),
    st.from_regex(rb"/[!-~]{0,40}", fullmatch=True),
    fields,
    st.binary(max_size=300),
    fields,
)
responses = st.builds(
    Response,
    st.integers(200, 599),
    fields,
    st.binary(max_size=300),
    fields,
    st.lists(st.builds(Informational, st.integers(100, 199), fields), max_size=3).map(tuple),
)


@given(requests, st.integers(0, 2000))
def test_requests_survive(request: Request, pad_to: int) -> None:
    encoded = encode_request(request, pad_to=pad_to)
    assert len(encoded) >= pad_to
    assert decode_request(encoded) == request


@given(responses, st.integers(0, 2000))
def test_responses_survive(response: Response, pad_to: int) -> None:
    encoded = encode_response(response, pad_to=pad_to)
    assert len(encoded) >= pad_to
    assert decode_response(encoded) == response


algorithms = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
configs = st.builds(
    KeyConfig,
    st.integers(0, 255),
    st.just(0x20),
    st.binary(min_size=32, max_size=32),
    st.lists(algorithms, min_size=1, max_size=6),
)


@given(st.lists(configs, max_size=4))
def test_key_configurations_survive(some: list[KeyConfig]) -> None:
    assert decode_key_configs(encode_key_configs(some)) == some
    assert [KeyConfig.decode(config.encode()) for config in some] == some


@settings(max_examples=40)
@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_encapsulation_survives(request: bytes, response: bytes) -> None:
    sealed, client = encapsulation.encapsulate_request(KEY.config, request)
    opened, gateway = encapsulation.decapsulate_request([KEY], sealed)
    assert opened == request
    assert client.open_response(gateway.seal_response(response)) == response
