"""Starts a real `enclave-server` process on a Unix socket, and asks it sealed questions."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enclave_server.http.dates import format_date
from protocol.binary_http import Request, Response, decode_response, encode_request
from protocol.encapsulation import ClientContext, encapsulate_request
from protocol.evidence import Evidence, VerifiedEvidence, simulated_root, verify_evidence
from protocol.key_config import KeyConfig, decode_key_configs
from tests.support.beside import in_a_thread
from tests.support.upstream import Behaviour, StandInUpstream

DEADLINE = 120.0
"""Seconds after which a test fails rather than hang; nothing is expected to take as long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in the clear, as the outside sees it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Enclave:
    """A running server; `lines` is its log so far, `text` all of its standard error."""

    path: str
    process: subprocess.Popen[bytes]
    lines: list[dict[str, Any]] = field(default_factory=list)
    text: bytes = b""
    _ended: bool = False  # the log, which may be read after the process has ended
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def read_log(self) -> None:
        """Collect standard error until it ends (run in a thread)."""
        stream = self.process.stderr
        for line in stream if stream is not None else ():
            with self._arrived:
                self.text += line
                with contextlib.suppress(ValueError):
                    self.lines.append(json.loads(line))
                self._arrived.notify_all()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    def wait_for(self, event: str, number: int = 1) -> dict[str, Any]:
        """Return the log's line of this event, the `number`th of its kind."""

        def has_come() -> bool:
            return len(self.events(event)) >= number or self._ended

        with self._arrived:
            self._arrived.wait_for(has_come, DEADLINE)
            found = self.events(event)
            assert len(found) >= number, f"no {event} in the log: {self.text.decode()}"
            return found[number - 1]

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of this event so far."""
        return [line for line in self.lines if line.get("event") == event]

    @property
    def worker_pids(self) -> list[int]:
        """The worker processes that have been started and have not ended."""
        ended = {line["pid"] for line in self.events("worker_ended")}
        started = [line["pid"] for line in self.events("worker_started")]
        return [pid for pid in started if pid not in ended]

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is kept between requests."""
        return UnixConnection(self.path)

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer to one request on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            return exchange(connection, method, target, body, headers)

    def key_configs(self) -> list[KeyConfig]:
        """Return the key configurations that are served, newest first."""
        answer = self.request("GET", "/.well-known/ohttp-gateway")
        assert answer.status == 200
        return decode_key_configs(answer.body)

    def evidence(self) -> VerifiedEvidence:
        """Return the evidence that is served, verified as a client verifies it."""
        return verified(self.request("GET", "/v1/attestation"))

    def send(self, sealed: bytes) -> Answer:
        """Return the outer answer to an encapsulated request."""
        return self.request("POST", "/v1/ohttp", sealed, {"content-type": "message/ohttp-req"})

    def ask(self, request: Request, config: KeyConfig | None = None) -> Response:
        """Return the inner answer to a request, sealed to `config` or to the newest key."""
        sealed, context = encapsulate_request(
            config or self.key_configs()[0], encode_request(request)
        )
        answer = self.send(sealed)
        assert answer.status == 200, answer
        return decode_response(context.open_response(answer.body))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the server and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def opened_again(context: ClientContext, answer: bytes) -> Response:
    """Return the inner answer to a request that may be sent again, whose context stays whole."""
    if context._sender is None:
        raise ValueError("an answer was opened before")
    return decode_response(ClientContext(context._sender).open_response(answer))


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
        self.sock.settimeout(DEADLINE)  # before, it would turn a full queue into an error


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Return the answer to one request on a connection that stays open."""
    connection.request(method, target, body, dict(headers or {}))
    answer = connection.getresponse()
    fields = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, fields, answer.read())


def verified(answer: Answer, nonce: bytes | None = None) -> VerifiedEvidence:
    """Return the evidence in an answer, verified under the simulated root that it carries."""
    assert answer.status == 200, answer
    evidence = Evidence.decode(answer.body)
    root = simulated_root(evidence.document)
    return verify_evidence(evidence, now=time.time(), root=root, nonce=nonce)


def chat_request(
    content: str = "Say hello.", *, date: float | None = None, **fields: Any
) -> Request:
    """Return a chat request, dated now unless `date` (Unix seconds) says otherwise."""
    body = {"messages": [{"role": "user", "content": content}], "model": "stand-in", **fields}
    headers = (
        (b"content-type", b"application/json"),
        (b"date", format_date(time.time() if date is None else date)),
    )
    content_bytes = json.dumps(body).encode()
    return Request(b"POST", b"https", b"gateway", b"/v1/chat/completions", headers, content_bytes)


def models_request() -> Request:
    """Return a dated request for the list of models, which needs no upstream."""
    headers = ((b"date", format_date(time.time())),)
    return Request(b"GET", b"https", b"gateway", b"/v1/models", headers)


def stand_in_config(upstream: str) -> str:
    """Return a configuration whose one model, `stand-in`, is served at the address `upstream`."""
    return f"""
[[models]]
name = "stand-in"
upstream = "stand-in"

[upstreams.stand-in]
address = "{upstream}"
"""


@contextlib.contextmanager
def running_upstream(
    behaviour: Behaviour | None = None,
    tls: ssl.SSLContext | None = None,
    path: Path | None = None,
) -> Iterator[StandInUpstream]:
    """Yield a stand-in upstream that answers from a thread of its own."""
    upstream = StandInUpstream(behaviour, tls=tls, path=path)
    with in_a_thread(upstream):
        yield upstream


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """Yield a directory whose path is short enough for a Unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="oi-") as directory:
        yield Path(directory)


@contextlib.contextmanager
def running_enclave(
    config: str = stand_in_config("unix:/nonexistent"),
    *,
    workers: int = 1,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    ready: Callable[[Enclave], object] = lambda enclave: enclave.wait_for("ready"),
    descriptors: int | None = None,
) -> Iterator[Enclave]:
    """Yield a server with this configuration (TOML), ready; it is ended afterwards.

    Each of its processes may have so many `descriptors`, by default as many as the tests.
    """
    with private_directory() as directory:
        path = directory / "server.sock"
        settings = directory / "config.toml"
        settings.write_text(config)
        command = [sys.executable, "-m", "enclave_server", "--listen", f"unix:{path}"]
        command += ["--config", str(settings), "--workers", str(workers), "--simulated-nsm"]
        if descriptors is not None:
            command = ["prlimit", f"--nofile={descriptors}:{descriptors}", *command]
        with subprocess.Popen(
            [*command, *arguments],
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        ) as process:
            enclave = Enclave(str(path), process)
            reader = threading.Thread(target=enclave.read_log)
            reader.start()
            try:
                ready(enclave)
                yield enclave
            finally:
                _end(process)
                reader.join(DEADLINE)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
