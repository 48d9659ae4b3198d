"""Chunked Oblivious HTTP against the draft's example and the messages of another project."""

import gc
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import chunked, encapsulation, hkdf, hpke, registry, varint
from protocol.chunked import CHUNK_SIZE, decapsulate_request, encapsulate_request
from protocol.encapsulation import HEADER_SIZE, GatewayKey
from protocol.errors import KeyRejected, MalformedMessage, ProtocolError, TruncatedMessage
from protocol.hpke import Aead
from protocol.kem import X25519_HKDF_SHA256 as KEM
from protocol.key_config import KeyConfig
from tests.support.vector_files import load

PREFIX_SIZE = HEADER_SIZE + KEM.enc_size
DRAFT = load("chunked-ohttp-08.json")
V: dict[str, bytes] = {
    key: bytes.fromhex(value) for key, value in DRAFT["vector"].items() if isinstance(value, str)
}
CASES = [
    case
    for case in load("ohttp-implementations.json")["cases"]
    if case["kind"] == "chunked-request"
]
VALID = [case for case in CASES if case["valid"]]
INVALID = [case for case in CASES if not case["valid"]]
KEY = GatewayKey(1, bytes(range(32)))
EPHEMERAL = bytes(range(1, 33))


def key_of(case: dict[str, Any]) -> GatewayKey:
    return GatewayKey(case["key_id"], bytes.fromhex(case["gateway_secret_key"]))


def open_pieces(key: GatewayKey, pieces: list[bytes]) -> tuple[bytes, chunked.GatewayContext]:
    opener = decapsulate_request([key])
    opened = b"".join(piece for data in pieces for piece in opener.feed(data))
    final, context = opener.finish()
    return opened + final, context


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("over", [0, 1])
def test_whether_what_comes_completes_a_long_chunk(over: int) -> None:
    size = chunked.LONG_CHUNK_SIZE + over - 16
    sealer, _ = encapsulate_request(KEY.config)
    head = sealer.seal(b"first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "CHUNK_SIZE", size)
        chunk = sealer.seal(bytes(size))
    opener = decapsulate_request([KEY])
    assert not opener.is_long(1 << 20)
    assert opener.feed(head + chunk[:50]) == [b"first"]
    left = len(chunk) - 50
    assert [opener.is_long(count) for count in (1, left - 1, left, left + 1)] == [
        False,
        False,
        bool(over),
        bool(over),
    ]
    assert opener.feed(chunk[50:]) == [bytes(size)]
    assert not opener.is_long(1 << 20)


def parse_chunks(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return (length prefix, sealed bytes) of each chunk after the header or nonce."""
    chunks: list[tuple[bytes, bytes]] = []
    offset = 0
    while True:
        length, start = varint.decode(body, offset)
        if not length:
            return [*chunks, (body[offset:start], body[start:])]
        chunks.append((body[offset:start], body[start : start + length]))
        offset = start + length


def test_every_vector_is_run() -> None:
    assert (len(VALID), len(INVALID)) == (8, 16)
    assert set(DRAFT["vector"]) == {
        "gateway_secret_key",
        "key_config",
        "request_bhttp",
        "client_ephemeral_secret",
        "enc",
        "info",
        "encapsulated_request",
        "response_bhttp",
        "exported_secret",
        "salt",
        "prk",
        "aead_key",
        "aead_nonce",
        "encapsulated_response",
        "chunk_nonces",
        "response_nonce",
    }


class TestDraft08AppendixA:
    """The one complete example, each of its values on the way."""

    key = GatewayKey(1, V["gateway_secret_key"], [(1, 1), (1, 3)])

    def seal_request(self) -> tuple[bytes, chunked.ClientContext]:
        sealer, client = encapsulate_request(
            KeyConfig.decode(V["key_config"]), ephemeral=V["client_ephemeral_secret"]
        )
        first, second, final = (bytes.fromhex(c["plaintext"]) for c in DRAFT["request_chunks"])
        return sealer.seal(first) + sealer.seal(second) + sealer.finish(final), client

    def test_key_config_and_media_types(self) -> None:
        parsed = DRAFT["key_config_parsed"]
        config = KeyConfig.decode(V["key_config"])
        assert config == self.key.config
        assert (config.key_id, config.kem_id) == (parsed["key_id"], parsed["kem_id"])
        assert config.public_key.hex() == parsed["public_key"]
        assert [{"kdf_id": kdf, "aead_id": aead} for kdf, aead in config.symmetric_algorithms] == (
            parsed["symmetric"]
        )
        assert DRAFT["media_types"]["request"] == registry.CHUNKED_OHTTP_REQUEST.decode()
        assert DRAFT["media_types"]["response"] == registry.CHUNKED_OHTTP_RESPONSE.decode()

    def test_request(self) -> None:
        data, _ = self.seal_request()
        assert data == V["encapsulated_request"]
        assert data[HEADER_SIZE:PREFIX_SIZE] == V["enc"]
        label = DRAFT["labels"]["request"].encode()
        assert label + b"\0" + data[:HEADER_SIZE] == V["info"]
        request, context = open_pieces(self.key, [data])
        assert request == V["request_bhttp"]
        assert (context.key_id, context.enc) == (1, V["enc"])

    def test_request_chunks(self) -> None:
        private_key = KEM.load_private_key(V["gateway_secret_key"])
        recipient = hpke.setup_recipient(
            KEM, V["enc"], private_key, hpke.Kdf.HKDF_SHA256, Aead.AES_128_GCM, V["info"]
        )
        chunks = parse_chunks(V["encapsulated_request"][PREFIX_SIZE:])
        assert len(chunks) == len(DRAFT["request_chunks"]) == 3
        for (prefix, sealed), expected in zip(chunks, DRAFT["request_chunks"], strict=True):
            assert prefix.hex() == expected["length_prefix"]
            assert sealed.hex() == expected["sealed"]
            aad = expected["aad"].encode()
            assert aad == (b"final" if expected["final"] else b"")
            plaintext = recipient.open(sealed, aad)
            assert plaintext.hex() == expected["plaintext"]
            assert len(plaintext) == expected["plaintext_len"]

    def test_key_schedule_and_chunks_of_the_response(self) -> None:
        header = V["encapsulated_request"][:HEADER_SIZE]
        label = DRAFT["labels"]["request"].encode()
        recipient = encapsulation.find_acceptor([self.key], header, label).accept(V["enc"])
        secret = recipient.export(DRAFT["labels"]["response"].encode(), 16)
        assert secret == V["exported_secret"]
        assert V["salt"] == V["enc"] + V["response_nonce"]
        prk = hkdf.extract(V["salt"], secret)
        assert prk == V["prk"]
        assert hkdf.expand(prk, b"key", 16) == V["aead_key"]
        assert hkdf.expand(prk, b"nonce", 12) == V["aead_nonce"]
        cipher = hpke.new_cipher(Aead.AES_128_GCM, V["aead_key"])
        chunks = parse_chunks(V["encapsulated_response"][16:])
        nonces = DRAFT["vector"]["chunk_nonces"]
        for (prefix, sealed), expected in zip(chunks, DRAFT["response_chunks"], strict=True):
            assert prefix.hex() == expected["length_prefix"]
            assert sealed.hex() == expected["sealed"]
            assert expected["nonce"] == nonces[expected["counter"]]
            nonce = bytes.fromhex(expected["nonce"])
            opened = cipher.decrypt(nonce, sealed, expected["aad"].encode())
            assert opened.hex() == expected["plaintext"]

    def test_response(self) -> None:
        data, client = self.seal_request()
        _, gateway = open_pieces(self.key, [data])
        sealer = gateway.seal_response(random=lambda size: V["response_nonce"][:size])
        first, second, final = (bytes.fromhex(c["plaintext"]) for c in DRAFT["response_chunks"])
        sealed = sealer.seal(first) + sealer.seal(second) + sealer.finish(final)
        assert sealed == V["encapsulated_response"]
        opener = client.open_response()
        assert opener.feed(sealed) == [first, second]
        assert opener.finish() == final
        assert first + second + final == V["response_bhttp"]

    def test_every_split_gives_the_same(self) -> None:
        data = V["encapsulated_request"]
        for cut in range(len(data) + 1):
            assert open_pieces(self.key, [data[:cut], data[cut:]])[0] == V["request_bhttp"]
        assert open_pieces(self.key, single_bytes(data))[0] == V["request_bhttp"]
        response = V["encapsulated_response"]
        for cut in range(len(response) + 1):
            opener = self.seal_request()[1].open_response()
            opened = opener.feed(response[:cut]) + opener.feed(response[cut:])
            assert b"".join([*opened, opener.finish()]) == V["response_bhttp"]

    def test_every_cut_is_a_truncation_or_refused(self) -> None:
        """What ends early is never passed off as complete."""
        final_start = len(V["encapsulated_request"]) - 16
        for cut in range(len(V["encapsulated_request"])):
            expected = TruncatedMessage if cut < final_start else KeyRejected
            with pytest.raises(expected):
                open_pieces(self.key, [V["encapsulated_request"][:cut]])
        final_start = len(V["encapsulated_response"]) - 16
        for cut in range(len(V["encapsulated_response"])):
            opener = self.seal_request()[1].open_response()
            opener.feed(V["encapsulated_response"][:cut])
            with pytest.raises(TruncatedMessage if cut < final_start else KeyRejected):
                opener.finish()


class TestOtherImplementations:
    """What another project sealed, opened here, and answered with the bytes that it had."""

    @pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
    def test_opens(self, case: dict[str, Any]) -> None:
        data = bytes.fromhex(case["encapsulated_request"])
        expected = (
            bytes.fromhex(case["request_plaintext"])
            if "request_plaintext" in case
            else (
                bytes(i & 255 for i in range(16384)) + bytes(range(5))  # as the case's note says
            )
        )
        opener = decapsulate_request([key_of(case)])
        pieces = opener.feed(data)
        final, context = opener.finish()
        assert b"".join([*pieces, final]) == expected
        assert [len(piece) for piece in [*pieces, final]] == case["request_chunk_lengths"]
        assert open_pieces(key_of(case), single_bytes(data))[0] == expected
        assert context.key_id == case["key_id"]

    @pytest.mark.parametrize(
        "case",
        [case for case in VALID if "encapsulated_response" in case],
        ids=lambda case: case["id"],
    )
    def test_seals_the_same_response(self, case: dict[str, Any]) -> None:
        _, context = open_pieces(key_of(case), [bytes.fromhex(case["encapsulated_request"])])
        nonce = bytes.fromhex(case["response_nonce"])
        sealer = context.seal_response(random=lambda size: nonce)
        *chunks, final = (bytes.fromhex(chunk["plaintext"]) for chunk in case["response_chunks"])
        assert [chunk["final"] for chunk in case["response_chunks"]] == [False] * len(chunks) + [
            True
        ]
        sealed = b"".join([*(sealer.seal(chunk) for chunk in chunks), sealer.finish(final)])
        assert sealed.hex() == case["encapsulated_response"]
        assert b"".join([*chunks, final]).hex() == case["response_plaintext"]

    @pytest.mark.parametrize("case", INVALID, ids=lambda case: case["id"])
    def test_refuses(self, case: dict[str, Any]) -> None:
        data = bytes.fromhex(case["encapsulated_request"])
        expected = TruncatedMessage if case["reason"] == "no final chunk" else KeyRejected
        for pieces in ([data], single_bytes(data)):
            with pytest.raises(expected):
                open_pieces(key_of(case), pieces)


def exchange() -> tuple[chunked.ResponseSealer, chunked.ResponseOpener]:
    """Return both ends of an answer; the request is the same each time, the nonce is not."""
    sealer, client = encapsulate_request(KEY.config, ephemeral=EPHEMERAL)
    _, gateway = open_pieces(KEY, [sealer.finish()])
    return gateway.seal_response(), client.open_response()


class TestAlteredAnswers:
    """An answer of three chunks, "one", "two" and "end", in ways that it was not sent."""

    def refused(self, change: Any) -> ProtocolError:
        sealer, opener = exchange()
        nonce_and_one = sealer.seal(b"one")
        size = len(nonce_and_one) - 32
        nonce, one = nonce_and_one[:32], nonce_and_one[32:]
        assert size == 1 + 3 + 16
        two, end = sealer.seal(b"two"), sealer.finish(b"end")

        def open_altered() -> None:
            opener.feed(nonce + change(one, two, end))
            opener.finish()

        with pytest.raises(ProtocolError) as caught:
            open_altered()
        return caught.value

    def test_control(self) -> None:
        sealer, opener = exchange()
        data = sealer.seal(b"one") + sealer.seal(b"two") + sealer.finish(b"end")
        assert opener.feed(data) == [b"one", b"two"]
        assert opener.finish() == b"end"

    def test_wrong_order(self) -> None:
        assert isinstance(self.refused(lambda one, two, end: two + one + end), KeyRejected)

    def test_repeated(self) -> None:
        assert isinstance(self.refused(lambda one, two, end: one + one + two + end), KeyRejected)

    def test_dropped(self) -> None:
        assert isinstance(self.refused(lambda one, two, end: one + end), KeyRejected)

    def test_without_its_end(self) -> None:
        assert isinstance(self.refused(lambda one, two, end: one + two), TruncatedMessage)

    def test_data_after_the_final_chunk(self) -> None:
        assert isinstance(self.refused(lambda one, two, end: one + two + end + one), KeyRejected)

    def test_non_final_as_final(self) -> None:
        refused = self.refused(lambda one, two, end: one + b"\0" + two[1:])
        assert isinstance(refused, KeyRejected)

    def test_final_as_non_final(self) -> None:
        def change(one: bytes, two: bytes, end: bytes) -> bytes:
            return one + two + bytes([len(end) - 1]) + end[1:]

        assert isinstance(self.refused(change), KeyRejected)

    def test_chunk_shorter_than_its_tag(self) -> None:
        assert isinstance(self.refused(lambda one, two, end: b"\x05abcde"), KeyRejected)

    def test_endless_chunk(self) -> None:
        huge = varint.encode(chunked.MAX_SEALED_SIZE + 1)
        refused = self.refused(lambda one, two, end: huge)
        assert type(refused) is MalformedMessage

    @pytest.mark.parametrize("at", range(60))
    def test_altered_anywhere(self, at: int) -> None:
        def change(one: bytes, two: bytes, end: bytes) -> bytes:
            data = bytearray(one + two + end)
            data[at] ^= 1
            return bytes(data)

        self.refused(change)


def test_empty_non_final_chunks_are_refused() -> None:
    sealer, opener = exchange()
    data = sealer.seal(b"")
    assert len(data) == 32  # the response nonce alone: our own sealer makes no such chunk
    forged = sealer._require()(b"", b"")
    with pytest.raises(KeyRejected):
        opener.feed(data + varint.encode(len(forged)) + forged)


def test_nothing_opens_after_a_failure() -> None:
    """Counters go on after a chunk that does not open; what follows must not pass for whole."""
    sealer, opener = exchange()
    first, second, final = sealer.seal(b"one"), sealer.seal(b"two"), sealer.finish()
    with pytest.raises(KeyRejected):
        opener.feed(first[:-1] + bytes([first[-1] ^ 1]))
    for attempt in (lambda: opener.feed(second + final), opener.finish):
        with pytest.raises(ValueError, match="failed"):
            attempt()


def test_every_encoding_of_a_length_is_accepted() -> None:
    for prefix, size in ((0x4000, 2), (0x80000000, 4), (0xC000000000000000, 8)):
        sealer, opener = exchange()
        nonce_and_chunk = sealer.seal(b"chunk")
        final = sealer.finish(b"final")
        nonce, chunk = nonce_and_chunk[:32], nonce_and_chunk[33:]
        length = (prefix | len(chunk)).to_bytes(size, "big")
        zero = prefix.to_bytes(size, "big")
        assert opener.feed(nonce + length + chunk + zero + final[1:]) == [b"chunk"]
        assert opener.finish() == b"final"


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 50_000])
def test_long_data_is_cut_into_chunks_that_every_receiver_takes(size: int) -> None:
    data = bytes(size)
    sealer, client = encapsulate_request(KEY.config)
    sealed = sealer.seal(data) + sealer.finish(data)
    chunks = parse_chunks(sealed[PREFIX_SIZE:])
    assert all(len(chunk) <= CHUNK_SIZE + 16 for _, chunk in chunks)
    opened, gateway = open_pieces(KEY, [sealed])
    assert opened == data + data
    answer = gateway.seal_response()
    opener = client.open_response()
    pieces = opener.feed(answer.finish(data))
    assert all(pieces)
    assert b"".join([*pieces, opener.finish()]) == data


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 50_000])
def test_data_is_cut_into_as_few_chunks_as_hold_it(size: int) -> None:
    sealer, client = encapsulate_request(KEY.config)
    sealed = sealer.finish(bytes(size))
    full, rest = divmod(max(0, size - 1), CHUNK_SIZE)
    sizes = [CHUNK_SIZE] * full + [min(rest + 1, size)]
    chunks = parse_chunks(sealed[PREFIX_SIZE:])
    assert [len(chunk) - 16 for _, chunk in chunks] == sizes
    _, gateway = open_pieces(KEY, [sealed])
    opener = client.open_response()
    pieces = opener.feed(gateway.seal_response().finish(bytes(size)))
    assert [len(piece) for piece in [*pieces, opener.finish()]] == sizes


def test_each_object_works_once() -> None:
    sealer, client = encapsulate_request(KEY.config)
    opener = decapsulate_request([KEY])
    opener.feed(sealer.finish(b"request"))
    _, gateway = opener.finish()
    answer = gateway.seal_response()
    response = client.open_response()
    response.feed(answer.finish(b"response"))
    assert response.finish() == b"response"
    misuses: list[Any] = [
        lambda: sealer.seal(b"more"),
        sealer.finish,
        lambda: opener.feed(b"more"),
        opener.finish,
        gateway.seal_response,
        lambda: answer.seal(b"more"),
        answer.finish,
        client.open_response,
        lambda: response.feed(b"more"),
        response.finish,
    ]
    for misuse in misuses:
        with pytest.raises(ValueError, match="before"):
            misuse()


def test_unknown_keys_and_suites_are_refused_with_the_header() -> None:
    sealer, _ = encapsulate_request(KEY.config)
    header = sealer.seal(b"")
    assert len(header) == PREFIX_SIZE
    for at in range(HEADER_SIZE):
        altered = bytearray(header)
        altered[at] ^= 0x40
        with pytest.raises(KeyRejected):
            decapsulate_request([KEY]).feed(bytes(altered))


def test_the_two_formats_are_not_confused() -> None:
    """Their labels differ, so that a request of one does not open as the other."""
    data, _ = encapsulation.encapsulate_request(KEY.config, b"request")
    with pytest.raises(KeyRejected):
        open_pieces(KEY, [data[:PREFIX_SIZE] + b"\0" + data[PREFIX_SIZE:]])
    sealer, _ = encapsulate_request(KEY.config)
    sealed = sealer.finish(b"request")
    with pytest.raises(KeyRejected):
        encapsulation.decapsulate_request([KEY], sealed[:PREFIX_SIZE] + sealed[PREFIX_SIZE + 1 :])


@settings(max_examples=60)
@given(
    chunks=st.lists(st.binary(max_size=300), max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_any_chunks_in_any_pieces(chunks: list[bytes], cuts: list[int]) -> None:
    sealer, client = encapsulate_request(KEY.config)
    sealed = b"".join(sealer.seal(chunk) for chunk in chunks) + sealer.finish(b"end")
    borders = [0, *sorted(cut for cut in cuts if cut < len(sealed)), len(sealed)]
    pieces = [sealed[a:b] for a, b in itertools.pairwise(borders)]
    opened, gateway = open_pieces(KEY, pieces)
    assert opened == b"".join(chunks) + b"end"
    answer = gateway.seal_response()
    opener = client.open_response()
    got = [piece for chunk in chunks for piece in opener.feed(answer.seal(chunk))]
    assert got == [chunk for chunk in chunks if chunk]
    opener.feed(answer.finish(b"end"))
    assert opener.finish() == b"end"


def test_an_endless_final_chunk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "MAX_SEALED_SIZE", 1000)
    sealer, opener = exchange()
    start = sealer.seal(b"one")
    assert opener.feed(start + b"\0" + bytes(1000)) == [b"one"]
    with pytest.raises(MalformedMessage):
        opener.feed(bytes(1))


def test_a_request_has_a_limited_number_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "MAX_REQUEST_CHUNKS", 10)
    config = KEY.config

    def request_of(count: int) -> bytes:
        sealer, _ = encapsulate_request(config)
        return b"".join(sealer.seal(b"x") for _ in range(count - 1)) + sealer.finish(b"x")

    assert open_pieces(KEY, [request_of(10)])[0] == b"x" * 10
    for pieces in ([request_of(11)], single_bytes(request_of(11))):
        with pytest.raises(MalformedMessage):
            open_pieces(KEY, pieces)


def test_an_answer_may_have_any_number_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "MAX_REQUEST_CHUNKS", 10)
    sealer, client = encapsulate_request(KEY.config)
    _, gateway = open_pieces(KEY, [sealer.finish(b"x")])
    response = gateway.seal_response()
    data = b"".join(response.seal(b"y") for _ in range(20)) + response.finish()
    assert b"".join(client.open_response().feed(data)) == b"y" * 20


def test_a_message_leaves_no_garbage() -> None:
    """Keys and plaintext go with the last reference to them, not at some collection."""

    def exchange() -> None:
        sealer, client = encapsulate_request(KEY.config)
        request = decapsulate_request([KEY])
        request.feed(sealer.finish(b"question"))
        _, gateway = request.finish()
        response = client.open_response()
        response.feed(gateway.seal_response().finish(b"answer"))
        assert response.finish() == b"answer"

    exchange()  # what is cached by the first one stays
    gc.collect()
    gc.disable()
    try:
        exchange()
        assert gc.collect() == 0
    finally:
        gc.enable()
