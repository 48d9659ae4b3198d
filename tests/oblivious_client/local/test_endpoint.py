"""The local endpoint: any OpenAI program through it, nobody else, and the page in a browser."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from oblivious_client.exits import Exit
from oblivious_client.local import http as local_http
from oblivious_client.local.http import Service, serve_connection
from oblivious_client.local.messages import LocalRequest, LocalResponse
from oblivious_client.policy import Policy
from oblivious_client.releases.memory import ReleaseMemory
from oblivious_client.releases.source import Releases
from oblivious_client.releases.trust import DAY_SECONDS
from tests.support.chromium import Browser, needs_chromium, running_browser
from tests.support.gateway import MODEL, PROBLEM, WORDS, Plain, StandInGateway
from tests.support.local_endpoint import DEADLINE, Setting, serving
from tests.support.local_endpoint import running as running_endpoint
from tests.support.released_gateway import listed, running
from tests.support.releases import TRUST

ANSWER = "".join(WORDS)
ASKED: Any = [{"role": "user", "content": "What is the capital of France?"}]
BODY = json.dumps({"model": MODEL, "messages": ASKED}).encode()
STREAMED = json.dumps({"model": MODEL, "messages": ASKED, "stream": True}).encode()


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture
def url(gateway: StandInGateway) -> Iterator[str]:
    with serving(gateway) as running:
        yield running


def test_any_openai_program(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        create = sdk.chat.completions.create
        assert create(model=MODEL, messages=ASKED).choices[0].message.content == ANSWER
        stream = create(model=MODEL, messages=ASKED, stream=True)
        texts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
        assert [text for text in texts if text] == list(WORDS)
        assert sdk.completions.create(model=MODEL, prompt="The").choices[0].text == ANSWER
        pieces = sdk.completions.create(model=MODEL, prompt="The", stream=True)
        assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == ANSWER
        assert [model.id for model in sdk.models.list()] == [MODEL]
        assert sdk.models.retrieve(MODEL).id == MODEL
        with pytest.raises(openai.NotFoundError, match="of that name"):
            sdk.models.retrieve("other/7b")
        with pytest.raises(openai.NotFoundError, match="no model other"):
            create(model="other", messages=ASKED)
        with pytest.raises(openai.NotFoundError, match="no model other"):
            create(model="other", messages=ASKED, stream=True)
        tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
        with sdk.chat.completions.stream(model=MODEL, messages=ASKED, tools=tools) as helped:
            calls = helped.get_final_completion().choices[0].message.tool_calls
        assert [call.function.arguments for call in calls or []] == ['{"city":"Paris"}']


def test_any_anthropic_program(gateway: StandInGateway, url: str) -> None:
    wishes: Any = {"model": MODEL, "max_tokens": 9, "messages": ASKED}
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as sdk:
        messages = sdk.messages
        assert messages.count_tokens(model=MODEL, messages=ASKED).input_tokens == 3
        for _ in range(2):
            assert [block.text for block in messages.create(**wishes).content] == [ANSWER]
        with messages.stream(**wishes) as stream:
            assert list(stream.text_stream) == list(WORDS)
        gateway.faults.signature = lambda fields: {**fields, "tee_output_hash": "00" * 32}
        with pytest.raises(anthropic.APIStatusError, match="signature does not hold"):
            messages.create(**wishes)
        with (
            pytest.raises(anthropic.APIStatusError, match="signature does not hold"),
            messages.stream(**wishes) as stream,
        ):
            stream.get_final_message()
    assert {arrived.path for arrived in gateway.chat.inner} == {
        b"/v1/messages",
        b"/v1/messages/count_tokens",
    }


def test_many_at_once(url: str) -> None:
    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as sdk:
            answers = await asyncio.gather(
                *(sdk.chat.completions.create(model=MODEL, messages=ASKED) for _ in range(20))
            )
        assert {answer.choices[0].message.content for answer in answers} == {ANSWER}

    asyncio.run(run())


def test_padding_is_taken_out_of_streams(url: str) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", content=STREAMED)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "padding" not in response.text
    assert all(line.startswith("data: ") for line in response.text.split("\n") if line)
    assert response.text.endswith("data: [DONE]\n\n")


def test_nothing_of_the_program_leaves(url: str, gateway: StandInGateway) -> None:
    fields = {"Authorization": "Bearer canary-5d41", "User-Agent": "canary-5d41", "X-Id": "canary"}
    assert httpx.post(f"{url}/v1/chat/completions", content=BODY, headers=fields).is_success
    assert "canary" not in repr(gateway.arrived) + repr(gateway.chat.inner)


# Nobody else.


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:11435"}, 200),
        ({"Host": "[::1]:11435"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:11435"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost@evil.example"}, 403),
        ({"Host": "192.168.1.5:11435"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Host": "localhost:5", "Origin": "http://localhost:5"}, 200),
        ({"Host": "localhost:5", "Origin": "https://localhost:5"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/", "/evidence"])
def test_other_sites_are_kept_out(
    url: str, gateway: StandInGateway, path: str, fields: dict[str, str], status: int
) -> None:
    method, body = ("POST", BODY) if path.startswith("/v1") else ("GET", b"")
    response = httpx.request(method, url + path, content=body, headers=fields)
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers
    if status == 403:
        assert gateway.posts() == []


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site", "sec-fetch-SITE"])
@pytest.mark.parametrize("first", ["own", "other"])
def test_a_doubled_field_is_refused_and_not_ignored(
    url: str, gateway: StandInGateway, name: str, first: str
) -> None:
    host = url.removeprefix("http://")
    own = {"Host": host, "Origin": url}.get(name, "same-origin")
    values = [own, "http://evil.example"]
    if first == "other":
        values.reverse()
    fields = [(name, value) for value in values]
    if name != "Host":
        fields.append(("Host", host))
    head = "".join(f"{key}: {value}\r\n" for key, value in fields)
    head += f"Connection: close\r\nContent-Length: {len(BODY)}\r\n\r\n"
    request = f"POST /v1/chat/completions HTTP/1.1\r\n{head}"
    answer = talk(url, request.encode() + BODY)
    assert answer.split(b" ")[1] in (b"403", b"400")
    assert gateway.posts() == []


def test_what_is_not_there(url: str) -> None:
    assert httpx.get(f"{url}/v1/audio/speech").status_code == 404
    assert httpx.get(f"{url}/v1/embeddings").status_code == 405
    assert httpx.get(f"{url}/v1/chat/completions").status_code == 405
    assert httpx.post(f"{url}/v1/models").status_code == 405
    error = httpx.options(f"{url}/v1/models").json()["error"]
    assert error["type"] == "invalid_request_error"


# What goes wrong.


def test_outer_errors_are_told(url: str, gateway: StandInGateway) -> None:
    gateway.faults.outer = [Plain(503, PROBLEM, b"{}")]
    response = httpx.post(f"{url}/v1/chat/completions", content=BODY)
    assert response.status_code == 502
    assert "503" in response.json()["error"]["message"]


@pytest.mark.parametrize("fault", ["refused", "cut", "unsigned"])
def test_an_sdk_does_not_ask_twice_what_may_have_been_answered(
    url: str, gateway: StandInGateway, fault: str
) -> None:
    match fault:
        case "refused":
            gateway.faults.outer = [Plain(503, PROBLEM, b"{}")]
        case "cut":
            gateway.faults.cut_after = 1
        case "unsigned":
            gateway.faults.signature = lambda fields: {**fields, "tee_output_hash": "00" * 32}
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2) as sdk,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        sdk.chat.completions.create(model=MODEL, messages=ASKED)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(gateway.posts()) == 1


def test_an_sdk_asks_again_what_has_not_left(url: str, gateway: StandInGateway) -> None:
    gateway.faults.evidence_answers = [Plain(500, PROBLEM, b"{}")]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=1) as sdk:
        answer = sdk.chat.completions.create(model=MODEL, messages=ASKED)
    assert answer.choices[0].message.content == ANSWER
    assert len(gateway.posts()) == 1


def test_what_costs_nothing_may_be_asked_again(url: str, gateway: StandInGateway) -> None:
    gateway.faults.outer = [Plain(503, PROBLEM, b"{}")]
    response = httpx.get(f"{url}/v1/models")
    assert response.status_code == 502
    assert "x-should-retry" not in response.headers


def test_one_too_many_is_told_to_come_back(gateway: StandInGateway) -> None:
    with serving(gateway, most=1) as url:
        with httpx.Client() as first:
            assert first.get(f"{url}/v1/models").status_code == 200
            second = httpx.get(f"{url}/v1/models")
            assert (second.status_code, second.headers["retry-after"]) == (503, "1")
            assert second.headers["connection"] == "close"
        deadline = time.monotonic() + DEADLINE
        while httpx.get(f"{url}/v1/models").status_code != 200:
            assert time.monotonic() < deadline


def test_more_than_that_find_nobody(gateway: StandInGateway) -> None:
    with serving(gateway, most=1, refusals=1) as url, contextlib.ExitStack() as stack:
        host, port = url.removeprefix("http://").split(":")
        for _ in range(2):
            stack.enter_context(socket.create_connection((host, int(port))))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/v1/models")


def test_refused_evidence_is_told(gateway: StandInGateway) -> None:
    with serving(gateway, Policy()) as url:
        for response in (
            httpx.post(f"{url}/v1/chat/completions", content=BODY),
            httpx.get(f"{url}/evidence"),
        ):
            assert response.status_code == 502
            assert "--allow-simulated" in response.json()["error"]["message"]
    assert gateway.posts() == []


def test_nobody_there() -> None:
    gateway = StandInGateway()
    gateway.close()
    with serving(gateway) as url:
        response = httpx.post(f"{url}/v1/chat/completions", content=BODY)
    assert response.status_code == 502
    message = response.json()["error"]["message"]
    assert "no connection" in message
    assert "try again shortly" in message


def test_an_unsigned_answer_is_not_passed_on(url: str, gateway: StandInGateway) -> None:
    gateway.faults.signature = lambda fields: {**fields, "tee_output_hash": "00" * 32}
    response = httpx.post(f"{url}/v1/chat/completions", content=BODY)
    assert response.status_code == 502
    assert ANSWER not in response.text
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="signature"):
            list(stream)


def test_a_cut_stream_is_never_taken_for_the_whole(url: str, gateway: StandInGateway) -> None:
    gateway.faults.cut_after = 3
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            list(stream)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{url}/v1/chat/completions", content=STREAMED)


def test_a_program_that_goes_away_stops_the_generation(url: str, gateway: StandInGateway) -> None:
    gateway.chat.release.clear()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), DEADLINE) as program:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        program.sendall(head + b"Content-Length: %d\r\n\r\n" % len(STREAMED) + STREAMED)
        answer = program.recv(100)
        assert answer.startswith(b"HTTP/1.1 200")
        while b"data: " not in answer:  # its head may come before it was begun
            piece = program.recv(4096)
            assert piece
            answer += piece
    assert gateway.chat.abandoned.wait(DEADLINE)


def test_a_program_that_goes_away_before_the_answer_cancels_the_handler() -> None:
    async def run() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def handle(request: LocalRequest) -> LocalResponse:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return LocalResponse(200, (), b"")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve_connection(Service(handle), reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, asyncio.timeout(DEADLINE):
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(HEAD + b"\r\n")
            await begun.wait()
            writer.close()
            await cancelled.wait()

    asyncio.run(run())


# HTTP.


def talk(url: str, data: bytes) -> bytes:
    """Send `data`, and return what comes until the server closes."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), DEADLINE) as peer:
        peer.sendall(data)
        received = b""
        while piece := peer.recv(65536):
            received += piece
        return received


HEAD = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
ASKING = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
LAST = HEAD + b"Connection: close\r\n\r\n"


def test_connections_are_kept_and_pipelined(url: str) -> None:
    received = talk(url, (HEAD + b"\r\n") * 2 + LAST)
    assert received.count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (ASKING + b"Content-Length: 2000\r\n\r\n" + b"x" * 2000, 413),
        (ASKING + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000, 413),
    ],
)
def test_requests_that_cannot_be_read(
    url: str, data: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_http, "BODY_LIMIT", 1000)
    assert talk(url, data).startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/health", 200), ("/v1/models", 200), ("/v1/messages", 405)]
)
def test_the_answer_to_head_has_no_content(url: str, path: str, status: int) -> None:
    head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    received = talk(url, head + LAST)
    bare, then, _ = received.split(b"\r\n\r\n")
    assert bare.startswith(b"HTTP/1.1 %d" % status)
    assert b"content-length: 0" not in bare
    assert then.startswith(b"HTTP/1.1 200")


def test_a_silent_program_is_hung_up_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "IDLE_SECONDS", 0.05)
    assert talk(url, HEAD) == b""


def test_a_body_in_chunks_and_after_a_continue(url: str) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = talk(url, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
    assert b"HTTP/1.1 200" in received
    assert ANSWER.encode() in received


# The command.


def test_the_command(gateway: StandInGateway, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oblivious_client", "serve", "--relay", gateway.url]
    command += ["--allow-simulated", "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline().decode() for _ in range(3)]
        found = re.search(r"OPENAI_BASE_URL=(\S+)", lines[2])
        assert found is not None
        with openai.OpenAI(base_url=found[1], api_key="none") as sdk:
            assert [model.id for model in sdk.models.list()] == [MODEL]
        port = found[1].split(":")[2].split("/")[0]
        second = subprocess.run(
            [*command[:-1], f"127.0.0.1:{port}"],
            stderr=subprocess.PIPE,
            env=environment,
            timeout=DEADLINE,
            check=False,
        )
        assert second.returncode == Exit.USAGE
        assert b"cannot listen" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == Exit.OK
        left = process.stderr.read()
        assert left == b"", left.decode()


@contextlib.contextmanager
def running_command(
    gateway: StandInGateway, folder: Path, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], int, list[bytes]]]:
    """Run `serve`; give the process, its port, and the lines that it has said."""
    command = [*prefix, sys.executable, "-m", "oblivious_client", "serve"]
    command += ["--relay", gateway.url, "--allow-simulated", "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        said: list[bytes] = []
        while not said or b"listening" not in said[-1]:
            said.append(process.stderr.readline())
        found = re.search(rb"OPENAI_BASE_URL=http://127.0.0.1:([0-9]+)", said[-1])
        assert found is not None
        try:
            yield process, int(found[1]), said
        finally:
            process.kill()


def test_signals_that_come_while_it_ends_change_nothing(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    with running_command(gateway, tmp_path) as (process, _, _):
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
        assert process.returncode == Exit.OK
        assert process.stderr is not None
        left = process.stderr.read()
        assert left == b"", left.decode()


def test_without_descriptors_it_serves_fewer_and_says_little(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    prefix = ("prlimit", "--nofile=100:100")
    with running_command(gateway, tmp_path, prefix) as (process, port, said):
        assert b"few descriptors (ulimit -n): at most 22 programs" in b"".join(said)
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        deadline = time.monotonic() + DEADLINE
        while True:  # those that were accepted have to be seen to have gone
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200:
                    break
            assert time.monotonic() < deadline
        process.terminate()
        assert process.wait(DEADLINE) == Exit.OK
        assert process.stderr is not None
        left = process.stderr.read()
        assert left == b"", left.decode()


def test_the_command_refuses_before_it_listens(gateway: StandInGateway, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oblivious_client", "serve", "--relay", gateway.url]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    ended = subprocess.run(
        command, stderr=subprocess.PIPE, env=environment, timeout=DEADLINE, check=False
    )
    assert ended.returncode == Exit.SIMULATED


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@needs_chromium
def test_another_site_cannot_ask_through_it(
    url: str, gateway: StandInGateway, browser: Browser
) -> None:
    browser.command("Page.setBypassCSP", enabled=True)  # a hostile page has no such policy
    with serving(gateway) as elsewhere:  # another port is another origin
        browser.open(elsewhere)
        browser.wait_for("option")
        asked = len(gateway.posts())
        for options in ("{mode: 'no-cors'}", "{mode: 'no-cors', method: 'POST', body: '{}'}"):
            browser.evaluate(f"fetch('{url}/v1/models', {options})")
            browser.evaluate(f"fetch('{url}/v1/chat/completions', {options})")
    browser.command("Page.setBypassCSP", enabled=False)
    assert len(gateway.posts()) == asked


def test_embeddings_of_an_openai_program(gateway: StandInGateway, url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        # By itself the SDK asks for base64, and decodes it.
        for wishes in ({}, {"encoding_format": "float"}):
            answer = sdk.embeddings.create(model=MODEL, input=["a", "abc"], **wishes)  # type: ignore[arg-type]
            vectors = [item.embedding for item in answer.data]
            assert vectors == [pytest.approx([1, 0.1]), pytest.approx([3, 0.1])]
            assert answer.usage.total_tokens == 3
        with pytest.raises(openai.NotFoundError, match="no model other"):
            sdk.embeddings.create(model="other", input="a")
        gateway.faults.signature = lambda fields: {**fields, "tee_output_hash": "00" * 32}
        with pytest.raises(openai.APIStatusError, match="signature of the embeddings does not"):
            sdk.embeddings.create(model=MODEL, input="a")
    assert {arrived.path for arrived in gateway.chat.inner} == {b"/v1/embeddings"}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chat_is_never_passed_on_as_embeddings(
    gateway: StandInGateway, url: str, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setattr("tests.support.gateway.EMBEDDINGS", b"/elsewhere")
    body = json.dumps({"model": MODEL, "input": "a", "stream": streamed})
    answer = httpx.post(f"{url}/v1/embeddings", content=body, timeout=DEADLINE)
    assert answer.status_code == 502
    assert ANSWER not in answer.text


def test_the_evidence_names_the_release_and_who_signed_it(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    served = listed(running(1)).served(int(time.time()) - 6 * DAY_SECONDS)
    releases = Releases(TRUST, ReleaseMemory(tmp_path), given=served, now=time.time())
    with running_endpoint([gateway.url], Setting(releases=releases)) as (url, _):
        told = httpx.get(f"{url}/evidence").json()
    release = told["release"]
    assert (release["version"], release["builders"]) == (
        "1.1.0",
        ["build-a.example", "build-b.example"],
    )
    assert release["list"]["age_seconds"] // DAY_SECONDS == 6
    (warning,) = told["warnings"]
    assert "the list of releases is 6 days old" in warning
    assert all(told["pcrs"][f"PCR{index}"]["pinned"] for index in range(3))


def test_evidence_without_releases_names_none(gateway: StandInGateway) -> None:
    with serving(gateway) as url:
        told = httpx.get(f"{url}/evidence").json()
    assert "release" not in told
    assert told["warnings"] == []
