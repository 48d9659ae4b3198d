"""Reaching a gateway on this machine: over TCP and a Unix socket, and its newest key."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from protocol.encapsulation import GatewayKey
from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from protocol.key_config import KeyConfig, encode_key_configs
from scripts.local.gateway import connect, newest_key
from tests.support.attestation_samples import gateway_key


def test_both_kinds_of_address_are_connected_to(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}") as stream,
    ):
        assert stream.getpeername() == listener.getsockname()
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with connect(f"unix:{tmp_path / 's'}") as stream:
            assert stream.getpeername() == str(tmp_path / "s")


X_WING_KEY = GatewayKey.generate(3, X_WING)


class KeyServer(HTTPServer):
    """Serves the first few keys."""

    count = 0


class Keys(BaseHTTPRequestHandler):
    """Serves keys, the newest of each mechanism first, where RFC 9540 has them."""

    server: KeyServer

    def do_GET(self) -> None:
        listed = [gateway_key(2).config, gateway_key(1).config, X_WING_KEY.config]
        keys = encode_key_configs(listed[: self.server.count])
        self.send_response(200 if self.path == "/.well-known/ohttp-gateway" else 404)
        self.send_header("Content-Length", str(len(keys)))
        self.end_headers()
        self.wfile.write(keys)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def asked(count: int, kem: Kem | None = None) -> KeyConfig:
    """Return what is found where the first `count` keys are served."""
    with KeyServer(("127.0.0.1", 0), Keys) as server:
        server.count = count
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        try:
            return newest_key(f"tcp://127.0.0.1:{server.server_port}", kem=kem)
        finally:
            thread.join()


def test_the_first_key_of_a_mechanism_is_the_newest() -> None:
    assert asked(2) == asked(3, X25519_HKDF_SHA256) == gateway_key(2).config
    assert asked(3) == asked(3, X_WING) == X_WING_KEY.config  # which clients take
    with pytest.raises(LookupError):
        asked(2, X_WING)
