"""The scripted upstream: streams, whole answers and errors, at their times and no sooner."""

import contextlib
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.local import processes

SCRIPTS: dict[str, Any] = {
    "stream": [[0.0, "Hel"], [0.05, "lo"]],
    "whole": {"after": 0.05, "text": "Hello"},
    "error": {"after": 0, "status": 503},
}


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("upstream", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("s")
    (folder / "scripts.json").write_text(json.dumps(SCRIPTS))
    path = folder / "s"
    module = "scripts.local.scripted_upstream"
    command = [sys.executable, "-m", module, str(path), str(folder / "scripts.json")]
    with processes.running("upstream", command), contextlib.closing(Connection(path)) as connected:
        yield connected


def ask(connection: Connection, question: str) -> tuple[int, bytes, float]:
    body = json.dumps({"messages": [{"role": "user", "content": f" {question}\n"}]})
    begun = time.monotonic()
    connection.request("POST", "/v1/chat/completions", body)
    answer = connection.getresponse()
    return answer.status, answer.read(), time.monotonic() - begun


def test_a_stream_says_what_the_script_says(connection: Connection) -> None:
    status, body, seconds = ask(connection, "stream")
    events = [line.removeprefix("data: ") for line in body.decode().splitlines() if line]
    assert events.pop() == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello"
    assert choices[-1]["finish_reason"] == "stop"
    assert status == 200
    assert seconds >= 0.05


def test_a_whole_answer_comes_at_its_time(connection: Connection) -> None:
    status, body, seconds = ask(connection, "whole")
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == "Hello"
    assert seconds >= 0.05


def test_an_error_is_one(connection: Connection) -> None:
    status, body, _ = ask(connection, "error")
    assert (status, json.loads(body)) == (503, {"error": {"message": "scripted"}})
