"""From the enclave to a provider: a real server, a real host proxy, TLS with a test authority.

The host proxy's place can be taken by AWS's own program, which carries bytes in the same way:
`vsock-proxy 8001 api.example.com 443`, one for each way out, with the host and the port on its
allow-list. Nothing here depends on which of the two it is: the TLS ends in the enclave.
"""

import contextlib
import datetime
import functools
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import trustme

from protocol import chunked
from protocol.binary_http import ResponseDecoder, ResponseHead, encode_request
from tests.enclave_server.provision.test_desk import provision
from tests.host_proxy.test_egress import WITH_NAMES
from tests.support.enclave import (
    Enclave,
    chat_request,
    private_directory,
    running_enclave,
    running_upstream,
)
from tests.support.host_proxy_process import (
    ProxyProcess,
    connect_tcp,
    in_background,
    running,
    until,
)
from tests.support.provisioning import KEY as PROVISIONED
from tests.support.provisioning import public_text
from tests.support.stack import Tap
from tests.support.upstream import StandInUpstream, answering, stream_of, streaming

PROVIDER = "api.example.com"
PROMPT = "Quizzaciously seven teapots"
ANSWER = "Wladiwostok of course."
KEY = "sk-egress-7391-never-on-the-host"
HOST_PATH = "/v1/chat/completions"
HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A test authority, its certificate in a file, and what it issues."""

    ca: trustme.CA
    bundle: Path

    def server(self, *names: str, age: datetime.timedelta = HOUR) -> ssl.SSLContext:
        """Return the settings of a server with a certificate made `age` ago for two hours."""
        begins = datetime.datetime.now(datetime.UTC) - age
        leaf = self.ca.issue_cert(*names, not_before=begins, not_after=begins + 2 * HOUR)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        leaf.configure_cert(context)
        return context


def new_authority(directory: Path, name: str = "ca") -> Authority:
    ca = trustme.CA()
    bundle = directory / f"{name}.pem"
    ca.cert_pem.write_to_path(str(bundle))
    return Authority(ca, bundle)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


FROM_ENVIRONMENT = 'key_env = "EGRESS_KEY"'


def config_for(
    way_out: str, authority: Authority, *, key: str = FROM_ENVIRONMENT, connect_seconds: int = 10
) -> str:
    """Return the settings of an enclave that knows its provider by name and authority."""
    return f"""
[[models]]
name = "stand-in"
upstream = "provider"

[upstreams.provider]
address = "{way_out}"
host_name = "{PROVIDER}"
ca_file = "{authority.bundle}"
connect_seconds = {connect_seconds}
{key}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """The whole way, with the host listening in on both sides of its proxy."""

    enclave: Enclave
    proxy: ProxyProcess
    inner: Tap
    outer: Tap

    @property
    def seen(self) -> bytes:
        """All that the host could see: the bytes on both sides, and what its proxy wrote."""
        lines = "\n".join(self.proxy.lines).encode()
        return bytes(self.inner.captured) + bytes(self.outer.captured) + lines


@contextlib.contextmanager
def way_to(
    upstream: str,
    authority: Authority,
    *,
    inward: str = "unix",
    key: str = FROM_ENVIRONMENT,
    connect_seconds: int = 10,
) -> Iterator[Way]:
    """Run an enclave whose only way out leads through a real proxy to the address `upstream`."""
    with (
        private_directory() as directory,
        Tap(upstream) as outer,
    ):
        listen = f"unix:{directory / 'out'}" if inward == "unix" else "tcp://127.0.0.1:0"
        port = outer.address.rpartition(":")[2]
        # The name is the provider's; the proxy's name server says that it is on this machine.
        with running("--egress", f"{listen}={PROVIDER}:{port}", program=WITH_NAMES) as proxy:
            proxy.event("ready")
            hole = f"tcp://127.0.0.1:{proxy.ports()[0]}" if inward == "tcp" else listen
            path = directory / "tap" if inward == "unix" else None
            with (
                Tap(hole, path) as inner,
                running_enclave(
                    config_for(inner.address, authority, key=key, connect_seconds=connect_seconds),
                    environment={"EGRESS_KEY": KEY},
                ) as enclave,
            ):
                yield Way(enclave, proxy, inner, outer)


@contextlib.contextmanager
def provider(tls: ssl.SSLContext | None) -> Iterator[StandInUpstream]:
    with running_upstream(answering(ANSWER), tls) as upstream:
        yield upstream


def ask(enclave: Enclave) -> tuple[int, str]:
    """Return the inner status, and the answer's text or the error's code."""
    answer = enclave.ask(chat_request(PROMPT))
    body = json.loads(answer.content)
    if answer.status != 200:
        return answer.status, body["error"]["code"]
    return answer.status, body["choices"][0]["message"]["content"]


UNAVAILABLE = (503, "upstream_unavailable")


@pytest.mark.parametrize("inward", ["unix", "tcp"])
def test_a_question_goes_out_and_the_host_sees_only_ciphertext(
    authority: Authority, inward: str
) -> None:
    with (
        provider(authority.server(PROVIDER)) as upstream,
        way_to(upstream.address, authority, inward=inward) as way,
    ):
        assert ask(way.enclave) == (200, ANSWER)
        assert ask(way.enclave) == (200, ANSWER)
        assert len(upstream.requests) == 2
        assert upstream.connections == 1  # kept
        arrived = upstream.requests[0]
        assert arrived.fields["host"] == PROVIDER
        assert arrived.fields["authorization"] == f"Bearer {KEY}"
        assert arrived.target == HOST_PATH
        assert PROMPT.encode() in arrived.body
        assert bytes(way.inner.captured)
        assert bytes(way.outer.captured)
        _assert_only_ciphertext(way.seen)
        # What the host does see, and has to know anyway.
        assert PROVIDER.encode() in way.seen


def _assert_only_ciphertext(seen: bytes) -> None:
    words = (PROMPT, "teapots", ANSWER, "Wladiwostok", KEY, "Bearer", HOST_PATH, "HTTP/1.1")
    for word in (*words, PROVISIONED):
        assert word.encode() not in seen


def test_a_stream_goes_out_and_the_host_sees_only_ciphertext(authority: Authority) -> None:
    with (
        provider(authority.server(PROVIDER)) as upstream,
        way_to(upstream.address, authority) as way,
    ):
        upstream.behaviour = streaming(stream_of(["Wladi", "wostok"]), seconds_between=0.02)
        assert b"Wladi" in _streamed(way.enclave)
        _assert_only_ciphertext(way.seen)


def _streamed(enclave: Enclave) -> bytes:
    sealer, context = chunked.encapsulate_request(enclave.key_configs()[0])
    sealed = sealer.finish(encode_request(chat_request(PROMPT, stream=True)))
    headers = {"content-type": "message/ohttp-chunked-req"}
    answer = enclave.request("POST", "/v1/ohttp", sealed, headers)
    opener, decoder = context.open_response(), ResponseDecoder()
    events = [event for piece in opener.feed(answer.body) for event in decoder.feed(piece)]
    events += [*decoder.feed(opener.finish()), *decoder.finish()]
    assert ResponseHead(200, ((b"content-type", b"text/event-stream"),)) in events
    return b"".join(event for event in events if isinstance(event, bytes))


def test_a_provisioned_key_goes_out_and_the_host_never_sees_it(authority: Authority) -> None:
    key = f'key_provisioned = true\n[provision]\nadministrator_key = "{public_text()}"'
    with (
        provider(authority.server(PROVIDER)) as upstream,
        way_to(upstream.address, authority, key=key) as way,
    ):
        assert ask(way.enclave) == (503, "key_not_provisioned")
        assert way.inner.connections == 0
        assert provision(way.enclave).status == 204
        assert ask(way.enclave) == (200, ANSWER)
        assert upstream.requests[0].fields["authorization"] == f"Bearer {PROVISIONED}"
        _assert_only_ciphertext(way.seen)
        assert PROVISIONED.encode() not in way.enclave.text


# What a host can try that carries the bytes.


def test_a_wrong_name_is_refused(authority: Authority) -> None:
    """The host leads the connection to another customer of the same authority."""
    with (
        provider(authority.server("api.example.org", "example.com")) as upstream,
        way_to(upstream.address, authority) as way,
    ):
        _assert_refused(way, upstream)


def test_a_certificate_for_the_address_is_no_certificate_for_the_name(
    authority: Authority,
) -> None:
    with (
        provider(authority.server("127.0.0.1", "localhost")) as upstream,
        way_to(upstream.address, authority) as way,
    ):
        _assert_refused(way, upstream)


def test_a_wrong_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    """The host ends the TLS itself, with a certificate of its own making."""
    own = new_authority(tmp_path, "host")
    with (
        provider(own.server(PROVIDER)) as upstream,
        way_to(upstream.address, authority) as way,
    ):
        _assert_refused(way, upstream)


def test_an_authority_of_the_system_is_no_substitute(authority: Authority) -> None:
    """With a `ca_file` nothing else is trusted, and without it no test authority is."""
    with (
        provider(authority.server(PROVIDER)) as upstream,
        way_to(upstream.address, authority) as way,
    ):
        text = config_for(way.inner.address, authority)
        without = "\n".join(line for line in text.splitlines() if "ca_file" not in line)
        with running_enclave(without, environment={"EGRESS_KEY": KEY}) as other:
            assert ask(other) == UNAVAILABLE
        assert upstream.requests == []


@pytest.mark.parametrize(("age", "when"), [(3 * HOUR, "expired"), (-HOUR, "not yet valid")])
def test_a_certificate_out_of_its_time_is_refused(
    authority: Authority, age: datetime.timedelta, when: str
) -> None:
    with (
        provider(authority.server(PROVIDER, age=age)) as upstream,
        way_to(upstream.address, authority) as way,
    ):
        _assert_refused(way, upstream)


def test_a_provider_without_tls_is_refused(authority: Authority) -> None:
    """The host strips the encryption: nothing is said in the clear."""
    with (
        provider(None) as upstream,
        way_to(upstream.address, authority, connect_seconds=1) as way,
    ):
        _assert_refused(way, upstream)


def _assert_refused(way: Way, upstream: StandInUpstream) -> None:
    assert ask(way.enclave) == UNAVAILABLE
    assert way.outer.connections > 0
    assert upstream.requests == []
    assert way.enclave.process.poll() is None
    _assert_only_ciphertext(way.seen)
    # The reason stays inside: who reads the log learns a class, at most.
    for word in (b"CERTIFICATE", b"certificate", b"SSL"):
        assert word not in way.enclave.text


class Meddler:
    """A host that carries the bytes of a provider, and from a moment on spoils its answers."""

    def __init__(self, port: int) -> None:
        self.spoiling: Callable[[bytes], bytes] | None = None
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        in_background(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = connect_tcp(self._port)
                in_background(functools.partial(self._carry, near, far))
                in_background(functools.partial(self._carry, far, near, self._spoil))

    def _carry(
        self,
        source: socket.socket,
        sink: socket.socket,
        change: Callable[[bytes], bytes] = bytes,
    ) -> None:
        with contextlib.suppress(OSError), source, sink:
            while data := change(source.recv(1 << 16)):
                sink.sendall(data)
            for end in (source, sink):
                end.shutdown(socket.SHUT_RDWR)

    def _spoil(self, data: bytes) -> bytes:
        return data if self.spoiling is None else self.spoiling(data)


def flip_a_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


def cut(data: bytes) -> bytes:
    return b""


def say_something_else(data: bytes) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("spoiling", [flip_a_bit, cut, say_something_else])
def test_an_answer_that_the_host_spoils_is_none(
    authority: Authority, spoiling: Callable[[bytes], bytes]
) -> None:
    with (
        provider(authority.server(PROVIDER)) as upstream,
        Meddler(upstream.port) as meddler,
        way_to(meddler.address, authority) as way,
    ):
        assert ask(way.enclave) == (200, ANSWER)
        meddler.spoiling = spoiling
        assert ask(way.enclave) == (502, "upstream_failed")
        meddler.spoiling = None
        assert ask(way.enclave) == (200, ANSWER)
        _assert_only_ciphertext(way.seen)


# What a host can fail at.


def test_a_name_that_does_not_resolve_is_counted_and_ends_nothing(authority: Authority) -> None:
    with (
        private_directory() as directory,
        provider(authority.server(PROVIDER)) as upstream,
    ):
        lost, good = directory / "v_8001", directory / "v_8002"
        with (
            running(
                *("--egress", f"vsock-uds:{directory / 'v'}:8001=nowhere.invalid:443"),
                *("--egress", f"vsock-uds:{directory / 'v'}:8002={PROVIDER}:{upstream.port}"),
                program=WITH_NAMES,
            ) as proxy,
            running_enclave(
                config_for(f"unix:{lost}", authority), environment={"EGRESS_KEY": KEY}
            ) as enclave,
            running_enclave(
                config_for(f"unix:{good}", authority), environment={"EGRESS_KEY": KEY}
            ) as other,
        ):
            proxy.event("ready")
            for _ in range(2):
                assert ask(enclave) == UNAVAILABLE
            until(lambda: proxy.counters()["dial_failures"]["unresolved"] >= 2)
            assert ask(other) == (200, ANSWER)
            assert enclave.process.poll() is None


def test_an_upstream_that_is_not_on_the_list_has_no_way_out(authority: Authority) -> None:
    """The proxy listens for what it was told, and no question from inside changes that."""
    with (
        private_directory() as directory,
        provider(authority.server(PROVIDER)) as upstream,
        running(
            "--egress",
            f"vsock-uds:{directory / 'v'}:8001={PROVIDER}:{upstream.port}",
            program=WITH_NAMES,
        ) as proxy,
    ):
        proxy.event("ready")
        assert [path.name for path in directory.iterdir()] == ["v_8001"]
        with running_enclave(
            config_for(f"unix:{directory / 'v_8002'}", authority),
            environment={"EGRESS_KEY": KEY},
        ) as enclave:
            assert ask(enclave) == UNAVAILABLE
        assert upstream.connections == 0


def test_a_proxy_that_starts_again_is_found_again(authority: Authority) -> None:
    with (
        private_directory() as directory,
        provider(authority.server(PROVIDER)) as upstream,
        running_enclave(
            config_for(f"unix:{directory / 'out'}", authority),
            environment={"EGRESS_KEY": KEY},
        ) as enclave,
    ):
        hole = f"unix:{directory / 'out'}={PROVIDER}:{upstream.port}"
        assert ask(enclave) == UNAVAILABLE  # it is not there yet
        for _ in range(2):
            with running("--egress", hole, program=WITH_NAMES) as proxy:
                proxy.event("ready")
                assert ask(enclave) == (200, ANSWER)
        assert ask(enclave) == UNAVAILABLE
