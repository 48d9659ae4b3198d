"""What leaves for the upstream, and what each of its answers and failures becomes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat import service as chat_service
from enclave_server.chat.elsewhere import do
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.service import ELSEWHERE_BYTES, ChatService
from enclave_server.chat.transcript import MAX_ANSWER_BYTES
from enclave_server.chat.turns import LARGE_BYTES
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.memory import Memory
from protocol.binary_http import Request, Response
from protocol.gateway import Delivery, settled
from protocol.signature import ASKED_FIELD, Algorithm, SigningKeys, verify_answer, verify_choices
from tests.support.chat_service import JSON, TABLE, ask_nowhere, chat
from tests.support.turns import counting_turns
from tests.support.upstream import (
    Behaviour,
    Exchange,
    StandInUpstream,
    answering,
    completion,
    hanging_up,
    raw,
    sending,
    silent,
)

KEYS = SigningKeys.generate()
SECRET = "sk-secret-of-the-operator"
DEADLINE = 120.0  # seconds, so that nothing hangs
NOW = 1_800_000_000


def table(upstream: StandInUpstream, **changes: Any) -> ModelTable:
    address = parse_address(upstream.address)
    return ModelTable((Model("m", Upstream("u", address, **changes), "name-there"),))


def service_for(upstream: StandInUpstream, **changes: Any) -> ChatService:
    return ChatService(table(upstream, **changes), lambda: KEYS, clock=lambda: NOW)


def request(
    body: dict[str, Any] | bytes,
    path: bytes = b"/v1/chat/completions",
    *headers: tuple[bytes, bytes],
) -> Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = ((b"content-type", b"application/json"), *headers)
    return Request(b"POST", b"https", b"gateway", path, fields, content)


HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


async def ask(service: ChatService, asked: Request) -> tuple[Response, dict[str, Any]]:
    async with asyncio.timeout(DEADLINE):
        answer = await settled(service.dispatch(asked, Delivery.WHOLE))
    assert isinstance(answer, Response)
    return answer, json.loads(answer.content)


def run(
    behaviour: Behaviour,
    asked: Request | None = None,
    use: Callable[[ChatService], Awaitable[None]] | None = None,
    **changes: Any,
) -> tuple[Response, dict[str, Any], StandInUpstream]:
    """Ask a stand-in with `behaviour` once, and return the answer and the stand-in."""

    async def scenario() -> tuple[Response, dict[str, Any], StandInUpstream]:
        async with StandInUpstream(behaviour) as upstream:
            service = service_for(upstream, **changes)
            answer, body = await ask(service, asked or request(HELLO))
            service.close()
        return answer, body, upstream

    return asyncio.run(scenario())


# Answers.


def test_answer_is_signed_and_only_known_members_pass() -> None:
    asked = request(HELLO)
    answer, body, _ = run(answering("Paris."), asked)
    assert answer.status == 200
    assert answer.headers == ((b"content-type", b"application/json"),)
    fields = verify_choices(KEYS.public_keys, asked.content, body["choices"], body)
    assert fields.timestamp == NOW
    for name in fields.fields():
        del body[name]
    assert body.pop("id").startswith("chatcmpl-")
    assert body == {
        "object": "chat.completion",
        "created": NOW,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }


def test_a_request_says_what_signs_its_answer() -> None:
    signed = []
    for headers in ((), (ASKED_FIELD,)):
        asked = request(HELLO, b"/v1/chat/completions", *headers)
        body = run(answering("Paris."), asked)[1]
        signed.append(verify_choices(KEYS.public_keys, asked.content, body["choices"], body))
    assert [answer.version for answer in signed] == [2, 2]
    assert [answer.algorithm for answer in signed] == [Algorithm.RSA, Algorithm.ED25519]


def test_an_algorithm_that_nobody_knows_is_refused_before_the_model_is_asked() -> None:
    asked = request(HELLO, b"/v1/chat/completions", (b"tee-signature", b"none"))
    answer, body, upstream = run(answering(), asked)
    assert (answer.status, upstream.requests) == (400, [])
    assert "rsa-pss-sha256 or ed25519" in body["error"]["message"]


def test_the_first_version_is_signed_where_the_configuration_says_so() -> None:
    asked = request(HELLO)

    async def scenario() -> dict[str, Any]:
        async with StandInUpstream(answering("Paris.")) as upstream:
            models = table(upstream)
            service = ChatService(models, lambda: KEYS, version=1, clock=lambda: NOW)
            _, body = await ask(service, asked)
            service.close()
        return body

    body = asyncio.run(scenario())
    assert "tee_signature_version" not in body
    verify_answer(KEYS.rsa.public_key(), asked.content, b"Paris.", body)


def test_identifiers_are_new_for_each_answer() -> None:
    identifiers = {run(answering())[1]["id"] for _ in range(3)}
    assert len(identifiers) == 3
    assert "chatcmpl-upstream-identifier" not in identifiers


def test_tool_calls_and_several_choices_are_signed() -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    choices = [
        {"index": 1, "message": {"role": "assistant", "content": "b", "tool_calls": []}},
        {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": calls}},
    ]
    asked = request({**HELLO, "n": 2})
    _, body, _ = run(sending(200, completion("", choices=choices)), asked)
    messages = [choice["message"] for choice in body["choices"]]
    assert messages[0]["tool_calls"] == calls
    assert "tool_calls" not in messages[1]
    verify_choices(KEYS.public_keys, asked.content, body["choices"], body)


def test_completion_of_a_prompt_is_signed() -> None:
    upstream_says = {
        "id": "cmpl-x",
        "choices": [
            {
                "index": 0,
                "text": " Paris",
                "finish_reason": None,
                "logprobs": {
                    "tokens": [" Paris"],
                    "token_logprobs": [-0.5],
                    "top_logprobs": [{" Paris": -0.5}],
                    "text_offset": [0],
                },
            }
        ],
    }
    asked = request({"model": "m", "prompt": "The capital is", "user": "x"}, b"/v1/completions")
    _, body, upstream = run(sending(200, upstream_says), asked)
    assert upstream.requests[0].target == "/v1/completions"
    assert upstream.requests[0].json == {"model": "name-there", "prompt": "The capital is"}
    choice = body["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (" Paris", "stop")
    assert choice["logprobs"]["tokens"] == [" Paris"]
    assert body["object"] == "text_completion"
    verify_choices(KEYS.public_keys, asked.content, [choice], body)


# What leaves.


PROMPT = [
    {"role": "user", "content": "Weather? \u2603"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "@", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "@", "content": "Rain"},
]


def ada() -> Request:
    messages = json.loads(json.dumps(PROMPT).replace("@", "call_of_ada"))
    messages[0]["name"] = "Ada"
    messages[1] |= {"refusal": None, "annotations": [], "function_call": None, "audio": None}
    body = {
        "user": "ada",
        "metadata": {"session": "1"},
        "safety_identifier": "ada@example.com",
        "prompt_cache_key": "ada-1",
        "prompt_cache_retention": "24h",
        "store": True,
        "service_tier": "flex",
        "temperature": 1,
        "logit_bias": {"7": 1, "50256": -100},
        "top_p": None,
        "stream": False,
        "messages": messages,
        "model": "m",
    }
    fields = ((b"user-agent", b"Ada/1"), (b"cookie", b"ada"), (b"x-stainless-os", b"Linux"))
    return request(json.dumps(body, ensure_ascii=True).encode(), b"/v1/chat/completions", *fields)


def bob() -> Request:
    messages = json.loads(json.dumps(PROMPT).replace("@", "toolu_of_bob"))
    bias = {"50256": -100.0, "7": 1.0}
    body = {"logit_bias": bias, "model": "m", "messages": messages, "temperature": 1.0}
    text = json.dumps(body, ensure_ascii=False, indent=3).replace("call", "c\\u0061ll")
    fields = ((b"date", b"Tue, 01 Jan 2030 00:00:00 GMT"), (b"authorization", b"Bearer bob"))
    return request(text.encode(), b"/v1/chat/completions", *fields)


def test_identical_prompts_of_two_people_leave_identical_bytes() -> None:
    async def scenario() -> list[tuple[bytes, bytes]]:
        async with StandInUpstream() as upstream:
            service = service_for(upstream, key=lambda: SECRET)
            for asked in (ada(), bob()):
                answer, _ = await ask(service, asked)
                assert answer.status == 200
            service.close()
        return [(received.head, received.body) for received in upstream.requests]

    first, second = asyncio.run(scenario())
    assert first == second
    assert b"call00000" in first[1]
    assert json.loads(first[1])["messages"][0] == PROMPT[0]


def test_http_fields_are_exactly_these() -> None:
    _, _, upstream = run(answering(), ada(), key=lambda: SECRET)
    received = upstream.requests[0]
    host = upstream.address.removeprefix("tcp://")
    assert received.target == "/v1/chat/completions"
    assert received.fields == {
        "host": host,
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(received.body)),
        "user-agent": "oblivious-inference",
        "authorization": f"Bearer {SECRET}",
    }


def test_system_prompt_is_added_only_where_nobody_instructs() -> None:
    async def scenario() -> list[Any]:
        async with StandInUpstream() as upstream:
            address = parse_address(upstream.address)
            model = Model("m", Upstream("u", address), "x", system_prompt="Be brief.")
            service = ChatService(ModelTable((model,)), lambda: KEYS)
            await ask(service, request(HELLO))
            for role in ("system", "developer"):
                messages = [{"role": role, "content": "Be long."}, *HELLO["messages"]]
                await ask(service, request({"model": "m", "messages": messages}))
            service.close()
        return [received.json["messages"] for received in upstream.requests]

    plain, *instructed = asyncio.run(scenario())
    assert plain[0] == {"role": "system", "content": "Be brief."}
    assert [messages[0]["content"] for messages in instructed] == ["Be long."] * 2
    assert all(len(messages) == 2 for messages in instructed)


def test_order_of_a_schema_is_kept() -> None:
    """Models write the members of an object in the order of its schema."""
    parameters = {"properties": {"z": {}, "a": {}}, "type": "object"}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    _, _, upstream = run(answering(), request({**HELLO, "tools": tools}))
    sent = upstream.requests[0].json["tools"][0]["function"]["parameters"]
    assert list(sent["properties"]) == ["z", "a"]


# Failures.


FAULT = {"error": {"message": "org-operator sk-abc", "type": "t", "param": "p", "code": "c"}}
BLAMED = {"error": {"message": "temperature", "param": "temperature", "code": None}}
LONG = {"error": {"message": "x", "code": "context_length_exceeded"}}
LONG_TEXT = {"error": {"message": "This model's maximum context length is 5", "code": 400}}
QUOTA = {"error": {"message": "x", "type": "insufficient_quota"}}
RETRY = "Retry-After: 7"

STATUSES: list[tuple[int, object, tuple[str, ...], int, str, str | None]] = [
    (400, FAULT, (), 400, "upstream_rejected", None),
    (400, BLAMED, (), 400, "upstream_rejected", "temperature"),
    (400, LONG, (), 400, "context_length_exceeded", None),
    (400, LONG_TEXT, (), 400, "context_length_exceeded", None),
    (400, b"<html>", (), 400, "upstream_rejected", None),
    (413, FAULT, (), 400, "context_length_exceeded", None),
    (422, {"detail": [{"msg": "x"}]}, (), 400, "upstream_rejected", None),
    (401, FAULT, (), 503, "upstream_refused", None),
    (402, FAULT, (), 503, "upstream_refused", None),
    (403, FAULT, (), 503, "upstream_refused", None),
    (404, FAULT, (), 404, "model_not_served", None),
    (418, FAULT, (), 503, "upstream_refused", None),
    (429, FAULT, (RETRY,), 429, "rate_limit_exceeded", None),
    (429, FAULT, ("Retry-After: Tue, 01 Jan 2030 00:00:00 GMT",), 429, "rate_limit_exceeded", None),
    (429, QUOTA, (RETRY,), 503, "upstream_refused", None),
    (500, FAULT, (), 502, "upstream_failed", None),
    (502, b"", (), 502, "upstream_failed", None),
    (503, FAULT, (RETRY,), 503, "overloaded", None),
    (529, FAULT, (), 503, "overloaded", None),
    (408, FAULT, (), 504, "upstream_timeout", None),
    (504, FAULT, (), 504, "upstream_timeout", None),
    (302, b"", ("Location: http://elsewhere/",), 502, "upstream_failed", None),
    (204, b"", (), 502, "upstream_failed", None),
]


@pytest.mark.parametrize(("status", "said", "lines", "inner", "code", "param"), STATUSES)
def test_upstream_status_becomes_inner_status_without_its_text(
    status: int, said: object, lines: tuple[str, ...], inner: int, code: str, param: str | None
) -> None:
    answer, body, upstream = run(sending(status, said, *lines))
    error = body["error"]
    assert (answer.status, error["code"], error["param"]) == (inner, code, param)
    assert b"org-operator" not in answer.content
    retry_after = dict(answer.headers).get(b"retry-after")
    assert retry_after == (b"7" if RETRY in lines and code != "upstream_refused" else None)
    assert len(upstream.requests) == 1


GARBAGE: dict[str, Behaviour] = {
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "not JSON": sending(200, b"Hello"),
    "wrong type": sending(200, completion("x"), "Content-Type: text/html"),
    "no type": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "no choices": sending(200, completion("x", choices=[])),
    "choices of wrong type": sending(200, completion("x", choices="x")),
    "content of wrong type": sending(
        200, completion("x", choices=[{"index": 0, "message": {"content": 5}}])
    ),
    "not UTF-8": sending(200, b'{"choices":"\xff"}'),
    "deep": sending(200, b"[" * 100_000),
    "lone surrogate": sending(200, json.dumps(completion("\ud800")).encode()),
    "too long": sending(200, b" " * (MAX_ANSWER_BYTES + 1)),
    "short of its length": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    ),
    "chunked without end": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    ),
    "endless head": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000),
    "closes without a word": hanging_up,
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_is_an_upstream_failure_and_never_asked_twice(case: str) -> None:
    answer, body, upstream = run(GARBAGE[case])
    assert (answer.status, body["error"]["code"]) == (502, "upstream_failed")
    assert len(upstream.requests) == 1


def test_absent_upstream() -> None:
    async def scenario() -> tuple[Response, dict[str, Any]]:
        async with StandInUpstream() as upstream:
            service = service_for(upstream)
        return await ask(service, request(HELLO))

    answer, body = asyncio.run(scenario())
    assert (answer.status, body["error"]["code"]) == (503, "upstream_unavailable")


def test_upstream_that_never_answers_is_slow_and_its_connection_is_closed() -> None:
    answer, body, upstream = run(silent, first_byte_seconds=0.5)
    assert (answer.status, body["error"]["code"]) == (504, "upstream_timeout")
    assert len(upstream.requests) == 1


def test_upstream_that_stops_in_mid_answer_is_slow() -> None:
    async def stop(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: application/json", "Content-Length: 99")
        await exchange.send(b"{")
        await exchange.wait_gone()

    answer, body, _ = run(stop, total_seconds=0.1)
    assert (answer.status, body["error"]["code"]) == (504, "upstream_timeout")


def test_too_many_at_once_are_told_to_come_back() -> None:
    async def scenario() -> tuple[Response, dict[str, Any]]:
        async with StandInUpstream(silent) as upstream:
            service = service_for(upstream, concurrency=1)
            first = asyncio.ensure_future(settled(service.dispatch(request(HELLO), Delivery.WHOLE)))
            while not upstream.requests:
                await asyncio.sleep(0.01)
            refused = await ask(service, request(HELLO))
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            upstream.behaviour = answering()
            answer, _ = await ask(service, request(HELLO))
            assert answer.status == 200
            service.close()
        return refused

    answer, body = asyncio.run(scenario())
    assert (answer.status, body["error"]["code"]) == (503, "overloaded")
    assert (b"retry-after", b"1") in answer.headers


def test_cancel_closes_the_connection() -> None:
    async def scenario() -> None:
        async with StandInUpstream(silent) as upstream:
            service = service_for(upstream)
            task = asyncio.ensure_future(settled(service.dispatch(request(HELLO), Delivery.WHOLE)))
            while not upstream.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(asyncio.CancelledError):
                    await task
                while not upstream.gone:
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_question_on_a_connection_that_was_closed_meanwhile_is_answered_and_counted() -> None:
    """The upstream closes a connection that it finds idle, just as the next question comes."""

    async def scenario() -> None:
        told: list[None] = []
        async with StandInUpstream() as upstream:
            models = table(upstream)
            service = ChatService(models, lambda: KEYS, repeated=lambda: told.append(None))
            await ask(service, request(HELLO))

            async def once(exchange: Exchange) -> None:
                upstream.behaviour = answering()
                exchange.abort()

            upstream.behaviour = once
            answer, _ = await ask(service, request(HELLO))
            assert (answer.status, len(told)) == (200, 1)
            assert (upstream.connections, len(upstream.requests)) == (2, 3)
            service.close()

    asyncio.run(scenario())


# Refusals before anybody is asked.


def test_unknown_model_is_not_found() -> None:
    answer, error = ask_nowhere(chat(model="other"))
    assert answer.status == 404
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        (b"GET", b"/v1/chat/completions", 405),
        (b"POST", b"/v1/models", 405),
        (b"DELETE", b"/v1/models/m", 405),
        (b"GET", b"/v1/embeddings", 405),
        (b"POST", b"/v1/audio/speech", 404),
        (b"POST", b"/v1/chat/completions?user=5", 404),
        (b"POST", b"/v1/chat/completions/", 404),
        (b"GET", b"/v1/models/other", 404),
        (b"GET", b"/health", 404),
    ],
)
def test_wrong_method_or_path(method: bytes, path: bytes, status: int) -> None:
    answer, _ = ask_nowhere(chat(), method=method, path=path)
    assert answer.status == status
    allowed = dict(answer.headers).get(b"allow")
    assert (allowed is not None) == (status == 405)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"content-type", b"text/plain"),),
        ((b"content-type", b"application/jsonp"),),
        (*JSON, (b"content-encoding", b"gzip")),
    ],
)
def test_media_type_must_be_plain_json(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    answer, _ = ask_nowhere(chat(), headers=headers)
    assert answer.status == 415


def test_media_type_may_have_parameters_and_any_case() -> None:
    answer, _ = ask_nowhere(
        chat(), headers=((b"content-type", b"Application/JSON; charset=utf-8"),)
    )
    assert answer.status == 503  # it got as far as the upstream, of which there is none


def test_stream_in_a_whole_answer_names_the_media_type_to_use() -> None:
    _, error = ask_nowhere(chat(stream=True))
    assert "message/ohttp-chunked-req" in error["message"]


def test_models_are_listed_and_described() -> None:
    answer, _ = ask_nowhere(b"", method=b"GET", path=b"/v1/models", headers=())
    listed = json.loads(answer.content)
    assert answer.status == 200
    assert [model["id"] for model in listed["data"]] == ["m", "plain", "e"]
    answer, _ = ask_nowhere(b"", method=b"GET", path=b"/v1/models/pl%61in", headers=())
    assert json.loads(answer.content) == listed["data"][1]
    assert listed["data"][1].items() >= {"tools": False, "images": False, "files": True}.items()


def test_what_a_model_can_is_listed() -> None:
    place = Upstream("nowhere", parse_address("unix:/nonexistent/socket"))
    model = Model(
        "m",
        place,
        "there",
        reasoning=False,
        context_length=8,
        output_limit=4,
        sampling=frozenset({"top_k", "min_p"}),
    )
    service = ChatService(ModelTable((model,)), lambda: KEYS)
    answer = service.dispatch(
        Request(b"GET", b"https", b"g", b"/v1/models/m", (), b""), Delivery.WHOLE
    )
    assert isinstance(answer, Response)
    assert json.loads(answer.content) == {
        "id": "m",
        "object": "model",
        "created": 0,
        "owned_by": "oblivious-inference",
        "context_length": 8,
        "output_limit": 4,
        "tools": True,
        "images": True,
        "files": True,
        "reasoning": False,
        "structured_output": True,
        "embeddings": False,
        "later_instructions": "system",
        "sampling": ["min_p", "top_k"],
    }


def test_large_questions_are_taken_apart_in_different_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One step for many at the same moment would keep the event loop until the worker is killed."""

    async def scenario() -> list[int]:
        turn, found = counting_turns(), []
        service = ChatService(TABLE, lambda: KEYS)
        prepare = service._prepare

        def noting(*arguments: Any) -> Any:
            found.append(turn())
            return prepare(*arguments)

        monkeypatch.setattr(service, "_prepare", noting)
        asked = request({**HELLO, "user": "x" * LARGE_BYTES})
        await asyncio.gather(*[ask(service, asked) for _ in range(10)])
        return found

    found = asyncio.run(scenario())
    assert len(found) == len(set(found)) == 10


class Elsewhere:
    """Another process that has the same models, and keeps what it was given."""

    def __init__(self, models: ModelTable) -> None:
        self.models = models
        self.jobs: list[bytes] = []

    async def __call__(self, job: bytes) -> bytes:
        self.jobs.append(job)
        return do(self.models, KEYS, job)


def test_large_requests_alone_are_read_elsewhere_and_answered_alike() -> None:
    long = {"model": "m", "messages": [{"role": "user", "content": "x" * ELSEWHERE_BYTES}]}

    async def scenario() -> None:
        async with StandInUpstream(answering()) as upstream:
            models = table(upstream, key=lambda: SECRET)
            elsewhere = Elsewhere(models)
            service = ChatService(models, lambda: KEYS, elsewhere=elsewhere)
            for body, jobs in ((HELLO, 0), (long, 1), (HELLO, 1)):
                asked = request(body)
                answer, said = await ask(service, asked)
                assert answer.status == 200
                verify_choices(KEYS.public_keys, asked.content, said["choices"], said)
                assert len(elsewhere.jobs) == jobs
                sent = upstream.requests[-1]
                assert json.loads(sent.body)["messages"] == body["messages"]
                assert sent.fields["authorization"] == f"Bearer {SECRET}"
            answer, said = await ask(service, request({**long, "n": 0}))
            assert (answer.status, said["error"]["param"]) == (400, "n")
            service.close()

    asyncio.run(scenario())


def test_large_answers_alone_are_finished_elsewhere_and_signed_alike() -> None:
    async def scenario() -> None:
        for size, jobs in ((100, 0), (ELSEWHERE_BYTES, 1)):
            async with StandInUpstream(answering("x" * size)) as upstream:
                models = table(upstream)
                elsewhere = Elsewhere(models)
                service = ChatService(models, lambda: KEYS, clock=lambda: NOW, elsewhere=elsewhere)
                asked = request(HELLO)
                answer, said = await ask(service, asked)
                assert (answer.status, len(elsewhere.jobs)) == (200, jobs)
                assert said["choices"][0]["message"]["content"] == "x" * size
                assert said["tee_timestamp"] == said["created"] == NOW
                verify_choices(KEYS.public_keys, asked.content, said["choices"], said)
                service.close()

    asyncio.run(scenario())


def test_a_large_answer_that_cannot_be_finished_is_an_error() -> None:
    async def fail(job: bytes) -> bytes:
        raise ChatError(503, "This could not be read.", kind="server_error")

    async def scenario() -> None:
        async with StandInUpstream(answering("x" * ELSEWHERE_BYTES)) as upstream:
            memory = Memory()
            service = ChatService(table(upstream), lambda: KEYS, memory=memory, elsewhere=fail)
            answer, said = await ask(service, request(HELLO))
            assert (answer.status, said["error"]["type"]) == (503, "server_error")
            assert memory.held == 0
            service.close()

    asyncio.run(scenario())


def test_no_two_copies_of_a_large_request_are_made_in_one_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> list[int]:
        turn, found, elsewhere = counting_turns(), [], Elsewhere(TABLE)
        service = ChatService(TABLE, lambda: KEYS, elsewhere=elsewhere)

        def noting(what: Any) -> Any:
            def noted(*arguments: Any) -> Any:
                found.append(turn())
                return what(*arguments)

            return noted

        for name in ("encode_job", "decode_prepared"):
            monkeypatch.setattr(chat_service, name, noting(getattr(chat_service, name)))
        monkeypatch.setattr(service, "_prepare", noting(service._prepare))
        monkeypatch.setattr(service, "_asking", noting(service._asking))
        long = {"model": "m", "messages": [{"role": "user", "content": "x" * ELSEWHERE_BYTES}]}
        await ask(service, request(long))
        return found

    found = asyncio.run(scenario())
    assert len(found) == 4
    assert found == sorted(set(found))


def test_only_what_is_above_the_size_is_read_or_counted_elsewhere() -> None:
    """And comes to the same number there."""
    words = [{"role": "user", "content": "word " * (ELSEWHERE_BYTES // 5 - 99)}]
    small = json.dumps({"model": "m", "max_tokens": 9, "messages": words}).encode()
    sizes = ((ELSEWHERE_BYTES, 0), (ELSEWHERE_BYTES + 1, 1))

    async def scenario() -> None:
        elsewhere, counts = Elsewhere(TABLE), list[int]()
        service = ChatService(TABLE, lambda: KEYS, elsewhere=elsewhere)
        for path, status in ((b"/v1/messages/count_tokens", 200), (b"/v1/messages", 503)):
            for size, jobs in sizes:
                elsewhere.jobs.clear()
                answer, told = await ask(service, request(small.ljust(size), path))
                assert (answer.status, len(elsewhere.jobs)) == (status, jobs)
                counts.append(told.get("input_tokens", 0))
        assert counts[0] == counts[1] > 10_000
        service.close()

    asyncio.run(scenario())
