"""The embedded model, for real: the process, its socket, its answers and its failures."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave_server.chat.embedded import embedded_model
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.models import ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.streaming import EventStream
from enclave_server.chat.upstream.connections import UpstreamConnections
from enclave_server.engine import child as engine_module
from enclave_server.engine.child import (
    CONNECTIONS,
    FIRST_DELAY_SECONDS,
    INHERITED,
    Engine,
    Problem,
    State,
    Weights,
    installed_weights,
    needed_mib,
    preflight,
)
from protocol.binary_http import Request, Response
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, StreamedResponse, settled
from protocol.signature import SigningKeys, verify_choices
from tests.support.enclave import UnixConnection

KEYS = SigningKeys.generate()
NAME = "smollm2-135m-instruct"
PROMPT = "You are a helpful, concise assistant."
PARIS = "What is the capital of France?"
DEADLINE = 180.0  # seconds, so that nothing hangs; a busy machine is slow


def until_ready(engine: Engine) -> None:
    deadline = time.monotonic() + DEADLINE
    while engine.poll(time.monotonic()) is not State.READY:
        assert engine.state is not State.FAILED, engine.problem
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Running:
    """An engine that is ready, the chat service in front of it, and all that the engine printed."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "engine.sock"
        self.log = folder / "engine.log"
        with self.log.open("wb") as output:
            self.engine = Engine(output=output.fileno())
            self.engine.start(str(self.socket))
            until_ready(self.engine)
        self.models = ModelTable((embedded_model(NAME, str(self.socket), PROMPT),))

    def raw(
        self, method: str, body: object = None, path: str = "/v1/chat/completions"
    ) -> dict[str, Any]:
        """Return what the engine itself answers."""
        with contextlib.closing(UnixConnection(str(self.socket))) as connection:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {"content-type": "application/json"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer

    def service(self) -> ChatService:
        return ChatService(self.models, lambda: KEYS)

    def ask(self, path: bytes = b"/v1/chat/completions", **fields: Any) -> Response:
        answer = asyncio.run(
            settled(self.service().dispatch(request(path, **fields), Delivery.WHOLE))
        )
        assert isinstance(answer, Response)
        return answer


def request(path: bytes = b"/v1/chat/completions", **fields: Any) -> Request:
    body = {"model": NAME, "temperature": 0, **fields}
    if path.endswith(b"/chat/completions"):
        body.setdefault("messages", [{"role": "user", "content": PARIS}])
    headers = ((b"content-type", b"application/json"),)
    return Request(b"POST", b"https", b"x", path, headers, json.dumps(body).encode())


async def streamed(service: ChatService, **fields: Any) -> StreamedResponse:
    answer = await settled(service.dispatch(request(stream=True, **fields), Delivery.CHUNKED))
    assert isinstance(answer, StreamedResponse), answer
    return answer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("engine"))
    yield running
    running.engine.stop()


def test_whole_answer_is_true_and_signed(running: Running) -> None:
    asked = request()
    answer = asyncio.run(settled(running.service().dispatch(asked, Delivery.WHOLE)))
    assert isinstance(answer, Response)
    body = json.loads(answer.content)
    assert answer.status == 200
    message = body["choices"][0]["message"]
    assert "Paris" in message["content"]
    verify_choices(KEYS.public_keys, asked.content, body["choices"], body)
    assert body["model"] == NAME
    assert body.keys().isdisjoint({"timings", "system_fingerprint"})
    assert body["usage"].keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_streamed_answer_is_true(running: Running) -> None:
    async def read() -> list[str]:
        answer = await streamed(running.service(), stream_options={"include_usage": True})
        parser = EventParser()
        return [event.data async for piece in answer.content for event in parser.feed(piece)]

    *events, last = asyncio.run(read())
    assert last == "[DONE]"
    chunks = [json.loads(event) for event in events]
    words = [c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"]]
    assert "Paris" in "".join(words)
    assert len([word for word in words if word]) > 3
    assert chunks[-1]["usage"]["completion_tokens"] > 3
    assert "tee_signature" in chunks[-1]


def test_completion_continues_the_prompt(running: Running) -> None:
    answer = running.ask(b"/v1/completions", prompt="The capital of France is", max_tokens=5)
    assert answer.status == 200
    assert "Paris" in json.loads(answer.content)["choices"][0]["text"]


def test_likelihoods_of_a_prompt_s_continuation_are_in_their_own_shape(running: Running) -> None:
    answer = running.ask(
        b"/v1/completions", prompt="The capital of France is", max_tokens=2, logprobs=2
    )
    (choice,) = json.loads(answer.content)["choices"]
    likely = choice["logprobs"]
    assert likely.keys() == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert "".join(likely["tokens"]) == choice["text"]
    assert likely["text_offset"] == [0, len(likely["tokens"][0])]
    assert all(len(top) == 2 for top in likely["top_logprobs"])


def test_two_prompts_are_continued_in_one_stream(running: Running) -> None:
    prompts = ["The capital of France is", "One, two, three,"]
    asked = request(b"/v1/completions", prompt=prompts, max_tokens=4, stream=True)

    async def read() -> bytes:
        answer = await settled(running.service().dispatch(asked, Delivery.CHUNKED))
        assert isinstance(answer, StreamedResponse), answer
        return b"".join([piece async for piece in answer.content])

    *events, last = [event.data for event in EventParser().feed(asyncio.run(read()))]
    assert last == "[DONE]"
    texts, ends = ["", ""], ["", ""]
    for part in (part for event in events for part in json.loads(event)["choices"]):
        texts[part["index"]] += part["text"]
        ends[part["index"]] = part["finish_reason"] or ends[part["index"]]
    assert "Paris" in texts[0]
    assert "four" in texts[1]
    said = [
        {"index": index, "text": text, "finish_reason": end}
        for index, (text, end) in enumerate(zip(texts, ends, strict=True))
    ]
    verify_choices(KEYS.public_keys, asked.content, said, json.loads(events[-1]))


@pytest.mark.parametrize("option", [{"echo": True}, {"suffix": "x"}, {"best_of": 2}])
def test_options_that_the_engine_would_overlook_are_refused(
    running: Running, option: dict[str, Any]
) -> None:
    answer = running.ask(b"/v1/completions", prompt="a", **option)
    assert answer.status == 400
    assert json.loads(answer.content)["error"]["param"] in option


def test_fields_of_sampling_that_the_engine_knows(running: Running) -> None:
    wishes: dict[str, Any] = {"top_k": 1, "min_p": 0.1, "repeat_penalty": 1.1, "typical_p": 1.0}
    assert running.ask(**wishes, max_tokens=2).status == 200
    assert running.ask(repetition_penalty=1.1).status == 400


def test_options_that_the_engine_knows(running: Running) -> None:
    answer = running.ask(
        n=2,
        max_completion_tokens=4,
        logprobs=True,
        top_logprobs=2,
        stop=["zzz"],
        seed=5,
        logit_bias={"5": -1},
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    )
    body = json.loads(answer.content)
    assert answer.status == 200
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert all(choice["finish_reason"] in ("length", "stop") for choice in body["choices"])
    tokens = body["choices"][0]["logprobs"]["content"]
    assert tokens[0].keys() == {"token", "logprob", "bytes", "top_logprobs"}


def test_no_api_key_of_ours_is_handed_to_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []

    def popen(command: list[str], *, env: dict[str, str], **_: Any) -> None:
        given.append(env)
        raise FileNotFoundError

    monkeypatch.setenv("UPSTREAM_KEY", "sk-secret")
    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(FileNotFoundError):
        Engine().start(str(tmp_path / "engine.sock"))
    assert given[0].keys() <= {*INHERITED, "OMP_WAIT_POLICY"}


def test_socket_is_for_its_owner_alone(running: Running) -> None:
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o600


def test_request_longer_than_the_context(running: Running) -> None:
    messages = [{"role": "user", "content": "word " * 5000}]
    for stream in (False, True):
        asked = request(messages=messages, stream=stream)
        answer = asyncio.run(settled(running.service().dispatch(asked, Delivery.CHUNKED)))
        assert isinstance(answer, Response)
        error = json.loads(answer.content)["error"]
        assert (answer.status, error["code"]) == (400, "context_length_exceeded")


def test_tools_are_refused(running: Running) -> None:
    answer = running.ask(tools=[{"type": "function", "function": {"name": "f"}}])
    assert answer.status == 400
    assert json.loads(answer.content)["error"]["param"] == "tools"


def test_nothing_of_a_prompt_is_printed(running: Running) -> None:
    canary = "xylophone-canary-4711"
    asked: list[dict[str, Any]] = [{"role": "user", "content": f"Repeat: {canary}"}]
    assert running.ask(messages=asked, max_tokens=20).status == 200
    asked[0]["content"] *= 1000
    assert running.ask(messages=asked).status == 400
    # The engine itself refuses an unknown role's template or a schema without a grammar.
    schema = {"type": canary}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    answer = running.ask(response_format=form)
    assert answer.status == 400
    assert canary.encode() not in answer.content
    assert canary not in running.log.read_text(errors="replace")


def test_nothing_of_a_prompt_is_kept(running: Running) -> None:
    question = {
        "role": "user",
        "content": "A fox and a hen lived together. Which of them laid eggs?",
    }
    for _ in range(3):  # more often than there are slots
        answer = running.raw("POST", {"messages": [question], "max_tokens": 1})
        # Who asks the same as somebody before must not be answered sooner: that would tell.
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert answer["timings"]["prompt_n"] == answer["usage"]["prompt_tokens"]
    assert running.raw("GET", path="/slots")["error"]["code"] == 501


def test_cancelled_answers_free_the_engine(running: Running) -> None:
    """Both of the engine's slots would be busy for minutes if a cancel did not reach it."""

    async def run() -> None:
        service = running.service()
        endless = {"2": -100, "0": -100}  # it cannot say that it has finished
        streams = [await streamed(service, logit_bias=endless) for _ in range(2)]
        for answer in streams:
            assert isinstance(answer.content, EventStream)
            await anext(answer.content)
            await answer.content.aclose()
        async with asyncio.timeout(DEADLINE):
            last = await settled(service.dispatch(request(), Delivery.WHOLE))
        assert last.status == 200

    asyncio.run(run())


def test_killed_in_mid_answer_then_back(tmp_path: Path) -> None:
    running = Running(tmp_path)
    engine = running.engine
    try:
        asyncio.run(_kill_in_mid_answer(running))
        deadline = time.monotonic() + DEADLINE
        while engine.poll(100.0) is not State.WAITING:
            assert time.monotonic() < deadline
        assert running.ask().status == 503
        assert engine.poll(100.0 + FIRST_DELAY_SECONDS / 2) is State.WAITING
        assert engine.poll(100.0 + FIRST_DELAY_SECONDS) is State.STARTING
        assert engine.starts == 2
        until_ready(engine)
        assert b"Paris" in running.ask().content
    finally:
        engine.stop()
    assert not running.socket.exists()
    assert engine.process_id is None


async def _kill_in_mid_answer(running: Running) -> None:
    answer = await streamed(running.service(), logit_bias={"2": -100})
    parts = [await anext(answer.content)]
    process = running.engine.process_id
    assert process is not None
    os.kill(process, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        parts += [part async for part in answer.content]
    text = b"".join(parts)
    assert b"[DONE]" not in text
    assert b"tee_signature" not in text
    assert json.loads(text.split(b"data: ")[-1])["error"]["code"] == "upstream_failed"


def test_what_has_not_begun_has_answered_nothing() -> None:
    assert Engine().answers == 0


def until_served(engine: Engine) -> None:
    """Wait until the engine has answered that it gets on."""
    deadline = time.monotonic() + DEADLINE
    answers = engine.answers
    while engine.answers == answers:
        assert engine.poll(time.monotonic()) is State.READY
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stopped_engine_is_ended_and_is_back_soon_each_time(tmp_path: Path) -> None:
    running = Running(tmp_path)
    engine = running.engine
    try:
        for ends in (1, 2, 3):
            until_served(engine)
            assert engine.process_id is not None
            os.kill(engine.process_id, signal.SIGSTOP)
            now = time.monotonic()
            while engine.poll(now) is State.READY:
                now += 0.25  # as the supervisor looks, though sooner
            assert (engine.state, engine.hung) == (State.WAITING, ends)
            assert engine.poll(now + FIRST_DELAY_SECONDS) is State.STARTING
            until_ready(engine)
        assert b"Paris" in running.ask().content
    finally:
        engine.stop()


def test_an_engine_that_thinks_is_not_taken_for_a_stopped_one(running: Running) -> None:
    """Both slots think, others wait, and still it answers between two steps."""

    async def run() -> None:
        service = running.service()
        streams = [await streamed(service, logit_bias={"2": -100, "0": -100}) for _ in range(2)]
        waiting = [
            asyncio.ensure_future(settled(service.dispatch(request(), Delivery.WHOLE)))
            for _ in range(3)
        ]
        await asyncio.to_thread(until_served, running.engine)
        await asyncio.to_thread(until_served, running.engine)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for answer in streams:
            assert isinstance(answer.content, EventStream)
            await answer.content.aclose()
        service.close()
        await asyncio.sleep(0)

    asyncio.run(run())
    assert running.engine.hung == 0


def test_its_address_space_is_bounded(running: Running) -> None:
    """What would take gigabytes fails inside the engine, which goes on."""
    properties = {f"p{number}": {"type": "string"} for number in range(30_000)}
    schema = {"type": "object", "properties": properties}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    asked = {"messages": [{"role": "user", "content": PARIS}], "response_format": form}
    assert running.raw("POST", asked)["error"]["code"] == 400
    assert running.ask().status == 200
    status = Path(f"/proc/{running.engine.process_id}/status").read_text()
    peak = int(status.split("VmPeak:")[1].split()[0]) // 1024
    installed = installed_weights()
    assert installed is not None
    threads = max(1, len(os.sched_getaffinity(0)) - 1)
    assert peak <= needed_mib(installed.path, CONNECTIONS, threads)


# As large as they are admitted, in the shapes that cost the engine most.
LARGEST: dict[str, dict[str, Any]] = {
    "optional": {"properties": {f"p{n}": {"type": "string"} for n in range(127)}},
    "long names": {"properties": {"p" * 200 + str(n): {} for n in range(127)}},
    "alternatives": {"enum": ["a" * 200 + str(number) for number in range(127)]},
    "arrays": {"anyOf": [{"type": "array", "items": {"type": "string"}} for _ in range(63)]},
    "ranges": {"anyOf": [{"type": "integer", "minimum": 10**15 - n} for n in range(25)]},
}


@pytest.mark.parametrize("shape", LARGEST)
def test_the_largest_schemas_that_are_admitted_are_answered(running: Running, shape: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": LARGEST[shape]}}
    assert running.ask(response_format=form, max_tokens=8).status == 200


def test_a_slot_is_free_again_when_the_engine_has_stopped(running: Running) -> None:
    """Whoever asks and goes away cannot fill the engine with what nobody waits for."""

    async def run() -> None:
        upstream = embedded_model(NAME, str(running.socket), None, concurrency=2).upstream
        connections = UpstreamConnections(upstream)
        fields = ((b"Host", b"localhost"), (b"Content-Type", b"application/json"))
        question = {"messages": [{"role": "user", "content": PARIS}], "logit_bias": {"2": -100}}
        body = json.dumps(question).encode()

        async def ask() -> None:
            await connections.post(b"/v1/chat/completions", fields, body)

        tasks = [asyncio.ensure_future(ask()) for _ in range(2)]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(UpstreamError) as caught:
            await ask()
        assert caught.value.failure is Failure.BUSY
        async with asyncio.timeout(DEADLINE):
            while connections.in_use:
                await asyncio.sleep(0.02)

    asyncio.run(run())


def test_process_is_gone_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from enclave_server.engine.child import Engine, State\n"
        "engine = Engine()\n"
        "engine.start(sys.argv[1])\n"
        "while engine.poll(time.monotonic()) is not State.READY: time.sleep(0.02)\n"
        "print(engine.process_id, flush=True)\n"
        "time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "engine.sock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + DEADLINE
    while _alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def settle(engine: Engine, path: Path) -> State:
    engine.start(str(path))
    deadline = time.monotonic() + DEADLINE
    while engine.poll(time.monotonic()) is State.STARTING:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return engine.state


def test_altered_weights_are_refused_for_good(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF altered")
    engine = Engine(Weights(str(file), "0" * 64))
    assert settle(engine, tmp_path / "engine.sock") is State.FAILED
    assert engine.problem is Problem.ALTERED_WEIGHTS
    assert engine.poll(time.monotonic() + 1000) is State.FAILED
    engine.stop()


def test_file_that_is_no_model_is_tried_again_ever_later(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"not a model")
    weights = Weights(str(file), hashlib.sha256(b"not a model").hexdigest())
    engine = Engine(weights)
    assert settle(engine, tmp_path / "engine.sock") is State.WAITING
    assert engine.problem is None
    engine.stop()


def test_another_model_file_can_be_named(tmp_path: Path) -> None:
    installed = installed_weights()
    assert installed is not None
    file = tmp_path / "other.gguf"
    file.symlink_to(installed.path)
    engine = Engine(Weights(str(file), installed.sha256), threads=1)
    assert settle(engine, tmp_path / "engine.sock") is State.READY
    engine.stop()


def test_preflight_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = installed_weights()
    assert preflight(weights) is None
    assert preflight(None) is Problem.NO_WEIGHTS
    assert preflight(Weights(str(tmp_path / "none.gguf"), "")) is Problem.NO_WEIGHTS
    monkeypatch.setattr(engine_module, "_has_avx2", lambda: False)
    assert preflight(weights) is Problem.NO_AVX2
    monkeypatch.setattr(engine_module, "_has_avx2", lambda: True)
    monkeypatch.setattr("ctypes.CDLL", _no_library)
    assert preflight(weights) is Problem.NO_LIBGOMP
    assert "libgomp1" in Problem.NO_LIBGOMP.sentence
    engine = Engine()
    engine.start(str(tmp_path / "engine.sock"))
    assert (engine.state, engine.problem) == (State.FAILED, Problem.NO_LIBGOMP)


def _no_library(name: str) -> None:
    raise OSError(name)


def test_avx2_is_read_from_the_processor_flags(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    for flags, expected in (("fpu avx avx2 bmi1", True), ("fpu avx avx512f", False)):
        cpuinfo.write_text(f"flags\t\t: {flags}\nbugs\t:\n")
        assert engine_module._has_avx2(cpuinfo) is expected


def test_every_problem_has_a_sentence() -> None:
    assert all(problem.sentence.endswith(".") for problem in Problem)


def test_misuse_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.sock"):
        Engine().start(str(tmp_path / "engine"))
