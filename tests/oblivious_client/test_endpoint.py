"""Addresses: what is one, what is found there, and who sees what goes there."""

import pytest

from oblivious_client.endpoint import MAX_PORT, Endpoint, Role, is_loopback
from oblivious_client.errors import UsageError


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay.example",
        "ftp://relay.example/",
        "https://",
        "https:///path",
        "https://user:word@relay.example/",
        "https://relay.example/?query",
        f"https://relay.example:{MAX_PORT + 1}/",
        "https://relay.example:port/",
        f"https://{'a' * 64}.example/",
        "https://relay..example/",
        "https://xn--a/",
        "https://relay.example/\udcff",
        "unix:",
    ],
)
def test_what_is_no_address(role: Role, text: str) -> None:
    with pytest.raises(UsageError, match=f"not an address of a {role.value}") as caught:
        Endpoint.parse(role, text)
    assert "https://HOST" in caught.value.advice


@pytest.mark.parametrize(
    "text",
    [
        f"https://relay.example:{MAX_PORT}/",
        "http://localhost:1",
        f"https://{'a' * 63}.example/",
        "https://bücher.example/",
    ],
)
def test_what_is_one(text: str) -> None:
    assert Endpoint.parse(Role.RELAY, text).socket_path is None


def test_a_relay_maps_its_own_address_to_the_gateways() -> None:
    relay = Endpoint.parse(Role.RELAY, "https://relay.example/ask#fragment")
    assert str(relay.resource) == "https://relay.example/ask"
    assert str(relay.evidence()) == "https://relay.example/v1/attestation"
    assert str(relay.keys) == "https://relay.example/.well-known/ohttp-gateway"
    assert str(relay) == "relay https://relay.example/ask"


def test_a_gateways_resources_are_known() -> None:
    gateway = Endpoint.parse(Role.GATEWAY, "http://localhost:1/elsewhere")
    assert str(gateway.resource) == "http://localhost:1/v1/ohttp"
    assert str(gateway.evidence(b"\1\xff")) == "http://localhost:1/v1/attestation?nonce=01ff"


def test_a_unix_socket_is_named_by_its_path() -> None:
    socket = Endpoint.parse(Role.RELAY, "unix:/run/relay")
    assert socket.socket_path == "/run/relay"
    assert str(socket) == "relay unix:/run/relay"
    assert socket.is_protected


@pytest.mark.parametrize(
    ("text", "protected"),
    [
        ("https://relay.example/", True),
        ("http://relay.example/", False),
        ("http://localhost/", True),
        ("http://127.8.0.1/", True),
        ("http://[::1]:80/", True),
        ("http://192.0.2.1/", False),
        ("http://[2001:db8::1]/", False),
    ],
)
def test_who_sees_what_goes_there(text: str, protected: bool) -> None:
    assert Endpoint.parse(Role.RELAY, text).is_protected is protected


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost.example", False),
        ("192.0.2.1", False),
        ("::", False),
        ("", False),
    ],
)
def test_what_names_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
