"""The exchange: what goes inside, what stands outside, and what counts as a sealed answer."""

import asyncio

import httpx
import pytest

from oblivious_client.endpoint import Role
from oblivious_client.errors import AnswerUnreadable, ExchangeError, OuterRefusal
from oblivious_client.exchange import (
    KeyUnknown,
    Opened,
    Question,
    SealedBody,
    Upload,
    ask,
    content_in,
    content_type,
    head_in,
    inner_request,
    is_key_rejected,
    is_sealed,
    outer_request,
    refusal,
)
from oblivious_client.fetching import Flow
from oblivious_client.route import Route
from oblivious_client.sealing import Framing, seal
from protocol.binary_http import Event, Informational, ResponseHead
from protocol.encapsulation import GatewayKey
from protocol.evidence import VerifiedEvidence
from protocol.key_config import KeyConfig
from protocol.registry import KEY_PROBLEM

REQUEST = httpx.Request("POST", "https://relay.example/ask")
NOW = 1_700_000_000.9
QUESTION = Question("POST", b"/v1/chat/completions", b"{}", {"timeout": {"read": 1}})
KEY = GatewayKey.generate(1)


def answered(status: int, media_type: str | None, body: bytes = b"") -> httpx.Response:
    headers = {} if media_type is None else {"content-type": media_type}
    return httpx.Response(status, headers=headers, content=body, request=REQUEST)


def route(framing: Framing) -> Route:
    return Route("https://relay.example/ask", framing=framing)


def test_inside_stands_what_is_named_and_no_more() -> None:
    request = inner_request("POST", b"/v1/chat/completions", b"{}", now=NOW)
    assert request.headers == (
        (b"content-type", b"application/json"),
        (b"date", b"Tue, 14 Nov 2023 22:13:20 GMT"),
        (b"tee-signature", b"ed25519"),
    )
    assert (request.method, request.scheme, request.authority) == (b"POST", b"https", b"")
    assert (request.path, request.content) == (b"/v1/chat/completions", b"{}")
    assert inner_request("GET", b"/v1/models", b"", now=NOW).headers == request.headers[1:]


@pytest.mark.parametrize("framing", Framing)
def test_outside_all_requests_look_alike(framing: Framing) -> None:
    inner = inner_request("GET", b"/v1/models", b"", now=NOW)
    sealed = seal(GatewayKey.generate(1).config, inner, framing)
    outer = outer_request(route(framing), sealed, QUESTION)
    assert (outer.method, str(outer.url)) == ("POST", "https://relay.example/ask")
    assert outer.extensions["timeout"] == {"read": 1}
    assert outer.headers["host"] == "relay.example"
    assert outer.headers["content-type"] == framing.request_type
    assert outer.headers["accept"] == framing.response_type
    assert ("content-length" in outer.headers) == (framing is Framing.WHOLE)
    assert ("incremental" in outer.headers) == (framing is Framing.CHUNKED)


def test_a_sealed_body_is_read_by_either_kind_of_transport() -> None:
    uploads = [Upload(), Upload()]
    assert list(SealedBody(iter([b"a", b"b"]), uploads[0])) == [b"a", b"b"]

    async def collected() -> list[bytes]:
        return [piece async for piece in SealedBody(iter([b"a", b"b"]), uploads[1])]

    assert asyncio.run(collected()) == [b"a", b"b"]
    assert [upload.begun for upload in uploads] == [True, True]


@pytest.mark.parametrize(
    ("status", "media_type", "sealed"),
    [
        (200, "message/ohttp-res", True),
        (200, "message/ohttp-chunked-res", True),
        (200, "Message/OHTTP-Res; x=y", True),
        (200, "message/ohttp-req", False),
        (200, "text/html", False),
        (200, None, False),
        (201, "message/ohttp-res", False),
        (422, "message/ohttp-res", False),
    ],
)
def test_what_counts_as_a_sealed_answer(status: int, media_type: str | None, sealed: bool) -> None:
    assert is_sealed(answered(status, media_type)) is sealed


PROBLEM = b'{"type": "%s"}' % KEY_PROBLEM.encode()


@pytest.mark.parametrize(
    ("status", "media_type", "body", "rejected"),
    [
        (422, "application/problem+json", PROBLEM, True),
        (400, "application/problem+json; charset=utf-8", PROBLEM, True),
        (422, "application/json", PROBLEM, False),
        (500, "application/problem+json", PROBLEM, False),
        (200, "application/problem+json", PROBLEM, False),
        (422, "application/problem+json", b'{"type": "about:blank"}', False),
        (422, "application/problem+json", b"{}", False),
        (422, "application/problem+json", b"[]", False),
        (422, "application/problem+json", b"\xff", False),
    ],
)
def test_when_a_key_is_unknown(status: int, media_type: str, body: bytes, rejected: bool) -> None:
    assert is_key_rejected(answered(status, media_type, body)) is rejected


def test_a_media_type_may_be_anything() -> None:
    assert content_type(answered(200, None)) == ""
    strange = httpx.Response(200, headers=[(b"content-type", b"\xfft\xe9xt/x;y")])
    assert content_type(strange).endswith("xt/x")


def test_a_refusal_repeats_no_text_of_a_stranger() -> None:
    found = refusal(answered(503, "text/html", b"<h1>stranger"), Role.RELAY)
    assert isinstance(found, OuterRefusal)
    assert str(found) == "https://relay.example/ask answered 503 Service Unavailable"
    assert (found.status, bool(found.advice)) == (503, True)
    other = refusal(answered(200, "text/html"), Role.RELAY)
    assert str(other).endswith("answered something that is not a sealed answer")
    assert str(refusal(answered(599, None), Role.RELAY)).endswith("answered 599")


def test_the_final_head_is_found_behind_interim_ones() -> None:
    head = ResponseHead(200, ((b"a", b"b"),))
    events: list[Event] = [Informational(103), head, b"con", b"tent"]
    assert head_in(events) is head
    assert head_in([Informational(103), b"content"]) is None
    assert content_in(events) == b"content"
    assert content_in([]) == b""


def test_an_upload_has_begun_with_its_first_piece() -> None:
    upload = Upload()
    assert [upload.begun for _ in SealedBody([b"a", b"b"], upload)] == [True, True]
    upload = Upload()
    SealedBody([b"a"], upload)
    assert upload == Upload(begun=False)


@pytest.mark.parametrize("framing", Framing)
def test_a_request_has_not_begun_before_its_first_octet(framing: Framing) -> None:
    question = Question("GET", b"/v1/models", b"a secret", {})
    sealed = seal(KEY.config, inner_request("GET", b"/", b"", now=NOW), framing)
    outer = outer_request(route(framing), sealed, question)
    before = question.upload.begun
    assert isinstance(outer.stream, SealedBody)
    assert next(iter(outer.stream))
    assert (before, question.upload.begun) == (False, True)
    assert "secret" not in repr(question)


def asking(config: KeyConfig = KEY.config) -> Flow[Opened | KeyUnknown]:
    evidence = VerifiedEvidence(None, (config,), None, None)  # type: ignore[arg-type]
    return ask(route(Framing.CHUNKED), QUESTION, evidence, now=NOW)


def outcome(response: httpx.Response) -> Opened | KeyUnknown:
    flow = asking()
    assert isinstance(next(flow), httpx.Request)
    with pytest.raises(StopIteration) as done:
        flow.send(response)
    found: Opened | KeyUnknown = done.value.value
    return found


def test_what_comes_of_a_question() -> None:
    assert isinstance(outcome(answered(200, "message/ohttp-chunked-res")), Opened)
    assert isinstance(outcome(answered(422, "application/problem+json", PROBLEM)), KeyUnknown)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (answered(422, "application/problem+json", b"{}"), OuterRefusal),
        (answered(200, "text/html"), OuterRefusal),
        (answered(200, "message/ohttp-res"), AnswerUnreadable),
    ],
)
def test_what_is_no_answer_to_a_question(response: httpx.Response, error: type[Exception]) -> None:
    flow = asking()
    next(flow)
    with pytest.raises(error):
        flow.send(response)


@pytest.mark.parametrize("fields", [{}, {"retry-after": "2"}])
def test_a_key_is_due_where_it_is_said_when_to_come_back(fields: dict[str, str]) -> None:
    response = httpx.Response(422, headers=fields, request=REQUEST)
    assert KeyUnknown(response).is_key_due is bool(fields)


@pytest.mark.parametrize(("status", "is_silence"), [(502, True), (404, False), (429, False)])
def test_who_cannot_reach_a_gateway_is_as_silent_as_nobody(status: int, is_silence: bool) -> None:
    refused = refusal(answered(status, "text/html"), Role.RELAY)
    assert (refused.status, refused.is_silence) == (status, is_silence)


def test_a_key_without_a_known_algorithm() -> None:
    config = KeyConfig(1, KEY.config.kem_id, KEY.config.public_key, [(2, 9)])
    with pytest.raises(ExchangeError, match="none that this client can seal to"):
        next(asking(config))
