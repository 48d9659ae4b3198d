"""Reaching a gateway on this machine: over TCP and a Unix socket, and its newest key."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from protocol.key_config import encode_key_configs
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


class Keys(BaseHTTPRequestHandler):
    """Serves two keys, the newest first, where RFC 9540 has them."""

    def do_GET(self) -> None:
        keys = encode_key_configs([gateway_key(2).config, gateway_key(1).config])
        self.send_response(200 if self.path == "/.well-known/ohttp-gateway" else 404)
        self.send_header("Content-Length", str(len(keys)))
        self.end_headers()
        self.wfile.write(keys)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def test_the_first_key_is_the_newest() -> None:
    with HTTPServer(("127.0.0.1", 0), Keys) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert newest_key(f"tcp://127.0.0.1:{server.server_port}") == gateway_key(2).config
        thread.join()
