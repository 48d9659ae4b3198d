"""Responses as they come and go: encoders and decoders of one piece after the other."""

from collections.abc import Callable

import pytest

from protocol import varint
from protocol.binary_http import (
    Informational,
    Response,
    ResponseDecoder,
    ResponseEncoder,
    ResponseHead,
    decode_response,
)
from protocol.errors import MalformedMessage
from tests.protocol.test_binary_http import decode_in_pieces, single_bytes

HEAD = ((b"content-type", b"text/plain"),)


def refuse_all(misuses: list[Callable[[], bytes]]) -> None:
    for misuse in misuses:
        with pytest.raises(ValueError, match="out of order"):
            misuse()


class TestResponseEncoder:
    """What is written in pieces is read whole and in pieces."""

    def written(self) -> bytes:
        encoder = ResponseEncoder()
        return b"".join(
            [
                encoder.informational(102, ((b"a", b"b"),)),
                encoder.informational(103),
                encoder.start(200, HEAD),
                encoder.content(b"one"),
                encoder.content(b""),
                encoder.content(bytes(20_000)),
                encoder.finish(((b"x", b"y"),)),
            ]
        )

    def test_round_trip(self) -> None:
        interim = (Informational(102, ((b"a", b"b"),)), Informational(103))
        expected = Response(200, HEAD, b"one" + bytes(20_000), ((b"x", b"y"),), interim)
        data = self.written()
        assert decode_response(data) == expected
        assert decode_response(data + bytes(100)) == expected
        assert decode_in_pieces(single_bytes(data + bytes(3))) == expected

    def test_content_comes_at_once(self) -> None:
        encoder, decoder = ResponseEncoder(), ResponseDecoder()
        assert decoder.feed(encoder.start(200)) == [ResponseHead(200)]
        assert decoder.feed(encoder.content(b"one")) == [b"one"]
        half = encoder.content(b"a half and another")
        assert decoder.feed(half[:7]) == [b"a half"]
        assert decoder.feed(half[7:] + encoder.finish()) == [b" and another"]
        assert decoder.finish() == []

    def test_content_without_its_end_is_refused(self) -> None:
        data = self.written()
        content_end = len(data) - len(b"\x01x\x01y\0")
        for cut in range(data.index(b"\x03one") + 1, content_end):
            with pytest.raises(MalformedMessage):
                decode_response(data[:cut])
        assert decode_response(data[:content_end]).trailers == ()

    def test_order(self) -> None:
        encoder = ResponseEncoder()
        body: list[Callable[[], bytes]] = [lambda: encoder.content(b"x"), encoder.finish]
        heads: list[Callable[[], bytes]] = [
            lambda: encoder.start(200),
            lambda: encoder.informational(102),
        ]
        refuse_all(body)
        encoder.start(204)
        refuse_all(heads)
        encoder.finish()
        refuse_all(heads + body)


class TestResponseDecoder:
    """Beyond the vectors."""

    def test_stays_failed(self) -> None:
        decoder = ResponseDecoder()
        with pytest.raises(MalformedMessage):
            decoder.feed(b"\x00")
        with pytest.raises(MalformedMessage):
            decoder.feed(b"\x01\x40\xc8")
        with pytest.raises(MalformedMessage):
            decoder.finish()

    def test_nothing_comes_after_the_end(self) -> None:
        decoder = ResponseDecoder()
        assert decoder.feed(b"\x01\x40\xc8") == []
        assert decoder.finish() == [ResponseHead(200)]
        with pytest.raises(MalformedMessage):
            decoder.feed(b"\0")

    def test_keeps_no_content(self) -> None:
        decoder = ResponseDecoder()
        decoder.feed(b"\x01\x40\xc8\0" + varint.encode(1 << 40))
        for _ in range(10):
            assert decoder.feed(bytes(1000)) == [bytes(1000)]
        assert not decoder._buffer
