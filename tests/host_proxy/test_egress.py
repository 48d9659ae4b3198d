"""The way out of the enclave: one place for each hole, ciphertext only, no failure is fatal."""

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    connect_tcp,
    connect_unix,
    in_background,
    listen_tcp,
    listen_unix,
    read_all,
    read_exactly,
    running,
    until,
)

PROVIDER = "api.example.com"
QUESTION = b"POST /v1/chat/completions HTTP/1.1\r\n\r\nthe prompt that the host must not see"
ANSWER = b"HTTP/1.1 200 OK\r\n\r\nthe answer that the host must not see"

# The proxy with a name server of our own: whatever is asked for is on the loopback interface.
WITH_NAMES = """
import socket, sys
from host_proxy import options, proxy
real = socket.getaddrinfo
def names(host, port, **more):
    if host.endswith(".invalid"):
        raise socket.gaierror(-2, "no such name")
    return real("127.0.0.1", port, **more)
it = proxy.Proxy(options.from_command_line(sys.argv[1:]), getaddrinfo=names)
it.open()
it.run()
"""


class Authority:
    """A certificate authority for one test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(True, None))
        self.bundle = directory / "ca.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, host: str) -> ssl.SSLContext:
        """Return the TLS settings of a server with a certificate for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(name, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        path = self._directory / f"{host}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.bundle))

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )


class Provider:
    """A TLS server that answers one question on each connection, and a tap in front of it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = listen_tcp()
        self._stopped = threading.Event()
        self.questions: list[bytes] = []
        self.port: int = self._listener.getsockname()[1]
        self._thread = in_background(self._serve)

    def close(self) -> None:
        self._stopped.set()
        connect_tcp(self.port).close()
        self._thread.join(DEADLINE)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            with accept(self._listener) as sock:
                try:
                    with self._context.wrap_socket(sock, server_side=True) as tls:
                        self.questions.append(read_exactly(tls, len(QUESTION)))
                        tls.sendall(ANSWER)
                except OSError:
                    continue


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def provider(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority.server(PROVIDER))
    yield provider
    provider.close()


def ask(path: Path, context: ssl.SSLContext, host: str) -> bytes:
    """Ask as the enclave does: TLS with the provider's name over a socket to the host."""
    with (
        connect_unix(path) as sock,
        context.wrap_socket(sock, server_hostname=host) as tls,
    ):
        tls.sendall(QUESTION)
        return read_exactly(tls, len(ANSWER))


def test_a_question_goes_out_and_its_answer_comes_back(
    tmp_path: Path, authority: Authority, provider: Provider
) -> None:
    hole = f"vsock-uds:{tmp_path / 'v'}:8001={PROVIDER}:{provider.port}"
    with running("--egress", hole, program=WITH_NAMES) as proxy:
        proxy.event("ready")
        assert ask(tmp_path / "v_8001", authority.client(), PROVIDER) == ANSWER
        assert provider.questions == [QUESTION]
        assert proxy.counters()["route"] == f"{PROVIDER}:{provider.port}"


def test_a_wrong_name_is_refused_in_the_enclave(
    tmp_path: Path, authority: Authority, provider: Provider
) -> None:
    """The host leads the connection elsewhere: the certificate is for another name."""
    hole = f"unix:{tmp_path / 'v'}={PROVIDER}:{provider.port}"
    with running("--egress", hole, program=WITH_NAMES) as proxy:
        proxy.event("ready")
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(tmp_path / "v", authority.client(), "api.example.org")
    assert provider.questions == []


def test_a_wrong_authority_is_refused_in_the_enclave(
    tmp_path: Path, authority: Authority, provider: Provider
) -> None:
    """The host ends the TLS itself, with a certificate of its own making."""
    other = tmp_path / "other"
    other.mkdir()
    with running("--egress", f"unix:{tmp_path / 'v'}=127.0.0.1:{provider.port}") as proxy:
        proxy.event("ready")
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(tmp_path / "v", Authority(other).client(), PROVIDER)
    assert provider.questions == []


def test_the_host_sees_only_ciphertext(
    tmp_path: Path, authority: Authority, provider: Provider
) -> None:
    """A tap between proxy and provider, where the host could listen, keeps all bytes."""
    seen: list[bytes] = []
    with (
        listen_unix(tmp_path / "tap") as tap,
        running("--egress", f"unix:{tmp_path / 'v'}=unix:{tmp_path / 'tap'}") as proxy,
    ):
        proxy.event("ready")

        def listen_in() -> None:
            with accept(tap) as near, connect_tcp(provider.port) as far:
                pump = in_background(lambda: seen.extend(_copy(far, near)))
                seen.extend(_copy(near, far))
                pump.join(DEADLINE)

        thread = in_background(listen_in)
        assert ask(tmp_path / "v", authority.client(), PROVIDER) == ANSWER
        thread.join(DEADLINE)
        lines = "".join(proxy.lines)
    captured = b"".join(seen)
    assert len(captured) > len(QUESTION) + len(ANSWER)
    assert PROVIDER.encode() in captured  # the name in the clear: what the host does see
    for words in (b"prompt", b"answer", b"chat/completions"):
        assert words not in captured
        assert words.decode() not in lines


def _copy(source: socket.socket, sink: socket.socket) -> Iterator[bytes]:
    while piece := source.recv(1 << 16):
        yield piece
        sink.sendall(piece)
    sink.shutdown(socket.SHUT_WR)


def test_each_hole_leads_to_its_own_place(tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    with listen_tcp() as one, listen_tcp() as two:
        config.write_text(
            "[egress]\n"
            f'"vsock-uds:{tmp_path / "v"}:8001" = "one.example.com:{one.getsockname()[1]}"\n'
            f'"vsock-uds:{tmp_path / "v"}:8002" = "two.example.com:{two.getsockname()[1]}"\n'
        )
        with running("--config", str(config), program=WITH_NAMES) as proxy:
            proxy.event("ready")
            for listener, port in ((one, 8001), (two, 8002)):
                with connect_unix(tmp_path / f"v_{port}") as sock, accept(listener) as server:
                    sock.sendall(b"to %d" % port)
                    assert read_exactly(server, 7) == b"to %d" % port
            assert not (tmp_path / "v_8003").exists()
            assert not (tmp_path / "v").exists()


def test_a_name_that_does_not_resolve_ends_only_its_own_connection(tmp_path: Path) -> None:
    with listen_tcp() as upstream:
        options = (
            *("--egress", f"unix:{tmp_path / 'bad'}=nowhere.invalid:443"),
            *("--egress", f"unix:{tmp_path / 'good'}=api.example.com:{upstream.getsockname()[1]}"),
        )
        with running(*options, program=WITH_NAMES) as proxy:
            proxy.event("ready")
            for _ in range(5):
                with connect_unix(tmp_path / "bad") as sock:
                    assert read_all(sock) == b""
            until(lambda: proxy.counters()["ended"]["unreachable"] == 5)
            assert proxy.counters()["dial_failures"]["unresolved"] == 5
            with connect_unix(tmp_path / "good") as sock, accept(upstream) as server:
                sock.sendall(b"x")
                assert read_exactly(server, 1) == b"x"


def test_a_provider_that_is_away_is_tried_again_with_the_next_connection(tmp_path: Path) -> None:
    with socket.socket() as upstream:
        upstream.bind(("127.0.0.1", 0))  # and does not listen yet: connections are refused
        upstream.settimeout(DEADLINE)
        hole = f"unix:{tmp_path / 'v'}=127.0.0.1:{upstream.getsockname()[1]}"
        with running("--egress", hole) as proxy:
            proxy.event("ready")
            with connect_unix(tmp_path / "v") as sock:
                assert read_all(sock) == b""
            upstream.listen()
            with connect_unix(tmp_path / "v") as sock:
                with accept(upstream) as server:
                    server.sendall(b"back")
                assert read_all(sock) == b"back"
