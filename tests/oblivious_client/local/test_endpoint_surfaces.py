"""What every surface of the endpoint has in common: slashes, errors, keys, sites, silence."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from oblivious_client.local import http as local_http
from oblivious_client.local import waiting
from oblivious_client.local.access import Access
from oblivious_client.local.endpoint import wants_stream
from oblivious_client.local.messages import Handled
from tests.support.gateway import MODEL, WORDS, Chat, Plain, StandInGateway
from tests.support.local_endpoint import DEADLINE, Setting, running, serving

ANSWER = "".join(WORDS)
ASKED: Any = [{"role": "user", "content": "Hi"}]
CHAT = {"model": MODEL, "messages": ASKED}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "Hi"},
    "/v1/messages": {**CHAT, "max_tokens": 9},
    "/v1/messages/count_tokens": CHAT,
    "/v1/embeddings": {"model": MODEL, "input": "a"},
}
PATHS = [*BODIES, "/v1/responses"]
KEY = b"0123456789abcdef"
SITE = "http://localhost:3000"


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running_:
        yield running_


@pytest.fixture
def url(gateway: StandInGateway) -> Iterator[str]:
    with serving(gateway) as found:
        yield found


def error_of(response: httpx.Response, path: str) -> dict[str, Any]:
    """Return the error, which has the shape of its surface."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    if path.startswith("/v1/messages"):
        assert body["type"] == "error"
        assert body["error"].keys() == {"type", "message"}
    else:
        assert body.keys() == {"error"}
        assert body["error"].keys() == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    assert error["message"]
    return error


@pytest.mark.parametrize("slash", ["", "/", "//"])
@pytest.mark.parametrize("path", BODIES)
def test_a_slash_at_the_end_changes_nothing_that_is_sealed(
    gateway: StandInGateway, url: str, path: str, slash: str
) -> None:
    answer = httpx.post(f"{url}{path}{slash}", json=BODIES[path], params={"beta": "true"})
    assert answer.status_code == 200, answer.text
    (asked,) = gateway.chat.inner
    assert (asked.method, asked.path) == (b"POST", path.encode())


@pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{MODEL}", "/v1/models/", "/health/"])
def test_what_can_be_got_has_a_head(gateway: StandInGateway, url: str, path: str) -> None:
    head, got = httpx.head(url + path), httpx.get(url + path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] != "0"
    assert {asked.method for asked in gateway.chat.inner} <= {b"GET"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, "content_type"),
        ({"content-type": "text/plain; charset=utf-8"}, "content_type"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "content_encoding"),
    ],
)
def test_what_is_no_json_is_refused_in_the_surfaces_own_shape(
    gateway: StandInGateway, url: str, path: str, fields: dict[str, str], code: str
) -> None:
    response = httpx.post(url + path, content=b"{}", headers=fields)
    assert response.status_code == 415
    error = error_of(response, path)
    assert error["type"] == "invalid_request_error"
    assert error.get("code", code) == code
    assert gateway.posts() == []


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", None])
def test_what_is_json_or_says_nothing_is_taken(url: str, kind: str | None) -> None:
    fields = {} if kind is None else {"content-type": kind}
    body = json.dumps(CHAT).encode()
    answer = httpx.post(f"{url}/v1/chat/completions", content=body, headers=fields)
    assert answer.status_code == 200


def test_what_has_no_body_may_have_any_type(gateway: StandInGateway) -> None:
    odd = {"content-type": "text/plain", "content-encoding": "gzip"}
    with running([gateway.url], Setting(control=b"token")) as (url, endpoint):
        assert httpx.get(f"{url}/v1/models", headers=odd).status_code == 200
        own = {**odd, "authorization": "Bearer token"}
        assert httpx.post(f"{url}/stop", headers=own).status_code == 200
        assert endpoint.stop.is_set()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_question_that_is_too_large_is_told_so_and_not_hung_up_on(
    gateway: StandInGateway,
    url: str,
    path: str,
    in_chunks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_http, "BODY_LIMIT", 100_000)
    large = b" " * 3_000_000  # more than any socket keeps

    def pieces() -> Iterator[bytes]:
        yield large

    response = httpx.post(url + path, content=pieces() if in_chunks else large)
    assert response.status_code == 413
    assert "20 MiB" in error_of(response, path)["message"]
    assert gateway.posts() == []


def test_sdks_know_the_errors_of_their_surface(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "BODY_LIMIT", 10)
    with (
        anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as sdk,
        pytest.raises(anthropic.RequestTooLargeError) as caught,
    ):
        sdk.messages.create(model=MODEL, messages=ASKED, max_tokens=9)
    assert str(caught.value.body).startswith("{'type': 'error', 'error': {'type': 'request_too_l")
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as other,
        pytest.raises(openai.APIStatusError) as told,
    ):
        other.chat.completions.create(model=MODEL, messages=ASKED)
    assert (told.value.status_code, told.value.code) == (413, "request_too_large")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("method", "suffix", "fields", "status", "kind", "code"),
    [
        ("GET", "", {}, 405, "invalid_request_error", "method_not_allowed"),
        ("POST", "/more", {}, 404, "not_found_error", "not_found"),
        ("POST", "", {"host": "evil.example"}, 403, "permission_error", "host_not_allowed"),
        ("POST", "", {"origin": "http://x.example"}, 403, "permission_error", "origin_not_allowed"),
    ],
)
def test_every_refusal_has_the_surfaces_own_shape(
    url: str,
    path: str,
    method: str,
    suffix: str,
    fields: dict[str, str],
    status: int,
    kind: str,
    code: str,
) -> None:
    response = httpx.request(method, url + path + suffix, headers=fields)
    assert response.status_code == status
    error = error_of(response, path)
    assert error["type"] == kind
    assert error.get("code", code) == code
    assert response.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("path", BODIES)
def test_what_fails_on_the_way_has_a_kind_and_a_code(
    gateway: StandInGateway, url: str, path: str
) -> None:
    gateway.faults.outer = [Plain(502, "text/html", b"")]
    response = httpx.post(url + path, json=BODIES[path])
    assert response.status_code == 502
    error = error_of(response, path)
    assert "the relay answers, but does not reach its gateway" in error["message"]
    if not path.startswith("/v1/messages"):
        assert (error["type"], error["code"]) == ("oblivious_client_error", "outer_refusal")


# Names of this machine.


@pytest.mark.parametrize("host", ["[::1]:11435", "open-webui.localhost", "A.LOCALHOST:5"])
def test_every_name_of_this_machine_is_good(url: str, host: str) -> None:
    assert httpx.get(f"{url}/health", headers={"host": host}).status_code == 200
    site = {"host": host, "origin": f"http://{host}"}
    assert httpx.get(f"{url}/health", headers=site).status_code == 200
    other = {"host": host, "origin": "http://evil.localhost:1"}
    assert httpx.get(f"{url}/health", headers=other).status_code == 403


# Sites and keys.


def test_a_site_that_is_allowed_can_use_an_sdk(gateway: StandInGateway) -> None:
    access = Access(origins=frozenset({SITE}), key=KEY)
    with running([gateway.url], Setting(access=access)) as (url, _):
        place = f"{url}/v1/chat/completions"
        asked = {
            "origin": SITE,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-os",
            "sec-fetch-site": "same-site",
        }
        preflight = httpx.options(place, headers=asked)
        assert (preflight.status_code, preflight.content) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == SITE
        assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
        fields = {"origin": SITE, "authorization": f"Bearer {KEY.decode()}"}
        answer = httpx.post(place, json=CHAT, headers=fields)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == SITE
        refused = httpx.post(place, json=CHAT, headers={"origin": SITE})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == SITE
        elsewhere = httpx.options(place, headers={**asked, "origin": "http://localhost:3001"})
        assert elsewhere.status_code == 403
        assert "access-control-allow-origin" not in elsewhere.headers


def test_without_a_site_that_is_allowed_there_is_no_preflight(url: str) -> None:
    asked = {"origin": SITE, "access-control-request-method": "POST"}
    response = httpx.options(f"{url}/v1/models", headers=asked)
    assert response.status_code == 403
    own = httpx.options(f"{url}/v1/models", headers={**asked, "origin": url})
    assert own.status_code == 405


@pytest.mark.parametrize("path", [*PATHS, "/v1/models", "/", "/health", "/evidence", "/other"])
def test_with_a_key_every_request_needs_it(gateway: StandInGateway, path: str) -> None:
    with running([gateway.url], Setting(access=Access(key=KEY))) as (url, _):
        method = "GET" if path not in PATHS else "POST"
        for fields in ({}, {"x-api-key": "no"}, {"authorization": "Bearer none"}):
            refused = httpx.request(method, url + path, headers=fields)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            kind = error_of(refused, path)["type"]
            anthropics = path.startswith("/v1/messages")
            assert kind == ("authentication_error" if anthropics else "invalid_request_error")
        for fields in ({"x-api-key": KEY.decode()}, {"authorization": f"Bearer {KEY.decode()}"}):
            body = json.dumps(BODIES.get(path, {})).encode() if path in PATHS else b""
            answer = httpx.request(method, url + path, headers=fields, content=body)
            assert answer.status_code != 401
        assert "0123456789abcdef" not in repr(gateway.arrived) + repr(gateway.chat.inner)


# Health, and the end.


def test_health_asks_nobody(gateway: StandInGateway, url: str) -> None:
    told = httpx.get(f"{url}/health").json()
    assert (told["status"], told["evidence"]) == ("ok", "not yet")
    assert gateway.arrived == []
    httpx.get(f"{url}/v1/models")
    assert httpx.get(f"{url}/health").json()["evidence"] == "verified"


def test_only_its_own_command_may_stop_it(gateway: StandInGateway) -> None:
    setting = Setting(access=Access(key=KEY), control=b"token")
    with running([gateway.url], setting) as (url, endpoint):
        for fields in ({}, {"x-api-key": KEY.decode()}, {"x-api-key": "none"}):
            assert httpx.post(f"{url}/stop", headers=fields).status_code in (401, 403)
        own = {"authorization": "Bearer token"}
        assert httpx.get(f"{url}/health", headers=own).status_code == 200
        assert httpx.get(f"{url}/v1/models", headers=own).status_code == 401
        assert httpx.get(f"{url}/stop", headers=own).status_code == 405
        assert not endpoint.stop.is_set()
        assert httpx.post(f"{url}/stop", headers=own).status_code == 200
        assert endpoint.stop.is_set()


# Silence.


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every silence be a long one."""
    monkeypatch.setattr(waiting, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "COMMENT_SECONDS", 0.05)


class Held:
    """Holds every question back until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = threading.Event()
        dispatch = Chat.dispatch

        async def held(chat: Chat, request: Any, delivery: Any) -> Any:
            await asyncio.get_running_loop().run_in_executor(None, self.released.wait, DEADLINE)
            return await dispatch(chat, request, delivery)

        monkeypatch.setattr(Chat, "dispatch", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, hurried: None) -> Iterator[Held]:
    found = Held(monkeypatch)  # before there is a gateway, which keeps what it is given
    yield found
    found.released.set()


STREAMS = ["/v1/chat/completions", "/v1/completions", "/v1/messages"]


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_has_its_head_and_comments_before_anything_is_said(
    held: Held, url: str, path: str
) -> None:
    body = {**BODIES[path], "stream": True}
    with httpx.stream("POST", url + path, json=body, timeout=DEADLINE) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = response.iter_lines()
        assert [next(lines) for _ in range(4)] == [": waiting", ""] * 2
        held.released.set()
        said = [line for line in lines if line and line != ": waiting"]
    assert all(line.startswith(("data: ", "event: ")) for line in said)
    assert len(said) > 3


def test_sdks_read_over_comments(held: Held, url: str) -> None:
    threading.Timer(0.3, held.released.set).start()
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        texts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(texts) == ANSWER
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as other:
        wishes: Any = {"model": MODEL, "messages": ASKED, "max_tokens": 9}
        with other.messages.stream(**wishes) as message:
            assert "".join(message.text_stream) == ANSWER


def test_a_stream_that_falls_silent_gets_comments(
    gateway: StandInGateway, url: str, hurried: None
) -> None:
    gateway.chat.release.clear()
    body = {**CHAT, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith("data: "))
        assert next(line for line in lines if line.startswith(":")) == ": waiting"
        gateway.chat.release.set()
        assert "data: [DONE]" in list(lines)


def test_what_is_refused_at_once_has_its_status(url: str) -> None:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk,
        pytest.raises(openai.NotFoundError, match="no model other"),
    ):
        sdk.chat.completions.create(model="other", messages=ASKED, stream=True)


@pytest.mark.parametrize("path", STREAMS)
def test_what_is_refused_later_is_an_event_and_no_end(held: Held, url: str, path: str) -> None:
    body = {**BODIES[path], "model": "other", "stream": True}
    threading.Timer(0.3, held.released.set).start()
    seen: list[str] = []
    with httpx.stream("POST", url + path, json=body, timeout=DEADLINE) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            seen.extend(response.iter_lines())
    (told,) = [json.loads(each[len("data: ") :]) for each in seen if each.startswith("data: ")]
    assert told["error"]["message"] == "there is no model other"
    assert told["error"]["type"] == "invalid_request_error"
    assert ("event: error" in seen) is path.startswith("/v1/messages")


def test_a_whole_answer_is_waited_for_in_silence(held: Held, url: str) -> None:
    threading.Timer(0.3, held.released.set).start()
    answer = httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=DEADLINE)
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER


def test_a_failure_in_the_middle_has_a_kind_and_a_code(gateway: StandInGateway, url: str) -> None:
    error = {"message": "too slow", "type": "server_error", "code": "upstream_timeout"}
    gateway.chat.events = [{"error": error}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="too slow") as caught:
            list(stream)
    assert (caught.value.type, caught.value.code) == ("server_error", "upstream_timeout")
    gateway.chat.events, gateway.faults.cut_after = None, 3
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="broke off") as caught:
            list(stream)
    assert (caught.value.type, caught.value.code) == ("oblivious_client_error", "truncated")


def test_who_goes_away_before_a_late_answer_is_not_answered(
    gateway: StandInGateway, url: str, hurried: None
) -> None:
    gateway.chat.release.clear()
    gateway.chat.pause_after = 0
    body = json.dumps({**CHAT, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), DEADLINE) as program:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        program.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        seen = b""
        while b": waiting" not in seen or not gateway.chat.inner:  # which was not asked by then
            seen += program.recv(1000)
    assert gateway.chat.abandoned.wait(DEADLINE)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"stream": true}', True),
        (b'{"stream":false}', False),
        (b'{"stream": 1}', False),
        (b'{"a": {"stream": true}}', False),
        (b'["stream"]', False),
        (b'{"stream": true', False),
        (b'{"stream": ' + b"[" * 100_000, False),
        (b"", False),
    ],
)
def test_who_wants_a_stream(body: bytes, wanted: bool) -> None:
    assert wants_stream(body) is wanted


# What is told of a request.


def test_each_request_is_told_once_and_nothing_of_it(gateway: StandInGateway) -> None:
    told: list[Handled] = []
    with running([gateway.url], Setting(handled=told.append)) as (url, _):
        with httpx.Client(base_url=url) as http:
            answer = http.post("/v1/chat/completions/", json=CHAT)
            http.get("/none")
            http.post("/v1/messages", content=b"{}", headers={"content-type": "text/plain"})
        gateway.faults.cut_after = 3
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{url}/v1/chat/completions", json={**CHAT, "stream": True})
    first, missing, refused, cut = told
    assert (first.method, first.path) == ("POST", "/v1/chat/completions/")
    assert (first.status, first.is_whole) == (200, True)
    assert first.received == int(answer.request.headers["content-length"])
    assert first.sent == len(answer.content)
    assert first.seconds > 0
    assert (missing.status, missing.received) == (404, 0)
    assert (refused.status, refused.is_whole) == (415, True)
    assert (cut.status, cut.is_whole) == (200, False)
    assert "Hi" not in repr(told)
