"""Reaches a gateway that runs on this machine, as programs do that measure it or watch it."""

from __future__ import annotations

import http.client
import socket

from protocol.encapsulation import preferred_config
from protocol.kem import Kem
from protocol.key_config import KeyConfig, decode_key_configs

KEYS_PATH = "/.well-known/ohttp-gateway"
SECONDS = 10.0


def connect(address: str) -> socket.socket:
    """Connect to unix:PATH or tcp://HOST:PORT."""
    kind, _, place = address.partition(":")
    if kind == "unix":
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(place)
        return stream
    host, _, port = place.removeprefix("//").rpartition(":")
    stream = socket.create_connection((host, int(port)))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def newest_key(address: str, path: str = KEYS_PATH, kem: Kem | None = None) -> KeyConfig:
    """Fetch the key configurations that a gateway serves; return the newest.

    It is the newest of `kem`, or the one that a client takes; LookupError if there is none.
    """
    connection = http.client.HTTPConnection("gateway")
    connection.sock = connect(address)
    connection.sock.settimeout(SECONDS)
    try:
        connection.request("GET", path)
        listed = decode_key_configs(connection.getresponse().read())
    finally:
        connection.close()
    chosen = [config for config in listed if kem is None or config.kem_id == kem.code]
    if not chosen:
        raise LookupError("the gateway has no such key")
    return preferred_config(chosen)
