"""Where peers differ from the RFCs or from us, as docs/interop.md says: each is still so."""

import json

import httpx
import pytest

from oblivious_client.exchange import is_key_rejected
from protocol.binary_http import Request, Response
from protocol.encapsulation import encapsulate_request
from protocol.hpke import Aead
from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from protocol.registry import KEY_PROBLEM
from tests.interop.cases import case
from tests.interop.cells import Cell, Form, Framing, Role
from tests.interop.conftest import Drivers
from tests.interop.peers import PEERS
from tests.interop.sealing import ask, fetched, restricted

NAMES = [peer.name for peer in PEERS]
PATH = "/v1/echo?deep=1"


def cell_of(peer: str) -> Cell:
    """Return the cell that every peer can fill."""
    return Cell(peer, Role.CLIENT, Framing.WHOLE, Form.KNOWN, Aead.AES_128_GCM)


def renamed(config: KeyConfig) -> KeyConfig:
    """Return a key configuration under an identifier that nobody knows."""
    key_id = config.key_id ^ 0x80
    return KeyConfig(key_id, config.kem_id, config.public_key, config.symmetric_algorithms)


@pytest.mark.parametrize("peer", NAMES)
def test_peer_learns_that_its_key_is_unknown(
    peer: str, drivers: Drivers, relay: str, keys: bytes
) -> None:
    unknown = encode_key_configs([renamed(decode_key_configs(keys)[0])])
    answer = drivers.client(peer).ask(case(cell_of(peer), relay, unknown, PATH, b"x"))
    assert answer == {"outer": 422}


@pytest.mark.parametrize("peer", NAMES)
def test_peer_uses_the_list_as_it_is_served(
    peer: str, drivers: Drivers, relay: str, keys: bytes
) -> None:
    answer = drivers.client(peer).ask(case(cell_of(peer), relay, keys, PATH, b"x"))
    assert answer["status"] == 200


@pytest.mark.parametrize(("peer", "kem"), [("rust", X25519_HKDF_SHA256), ("go", X_WING)])
def test_which_key_of_our_list_a_peer_takes(
    peer: str, kem: Kem, drivers: Drivers, relay: str, keys: bytes
) -> None:
    """The rust one takes the last, the go one's driver the first."""
    listed = decode_key_configs(keys)
    assert [config.kem_id for config in listed] == [X_WING.code, X25519_HKDF_SHA256.code]
    for chosen in listed:
        spoiled = [renamed(config) if config == chosen else config for config in listed]
        asked = case(cell_of(peer), relay, encode_key_configs(spoiled), PATH, b"x")
        answer = drivers.client(peer).ask(asked)
        assert answer.get("outer", 200) == (422 if chosen.kem_id == kem.code else 200)


def test_rust_panics_when_no_suite_is_known_to_it(
    drivers: Drivers, relay: str, keys: bytes
) -> None:
    listed = restricted(keys, Aead.AES_256_GCM)
    answer = drivers.client("rust").ask(case(cell_of("rust"), relay, listed, PATH, b"x"))
    assert "panic: index out of bounds" in answer["error"]


@pytest.mark.parametrize(
    ("peer", "seen"), [("rust", PATH), ("go", PATH), ("javascript", "/echo?deep=1")]
)
def test_request_without_authority(peer: str, seen: str, drivers: Drivers) -> None:
    url = drivers.gateway(peer)
    config = decode_key_configs(fetched(url))[0]
    request = Request(b"POST", b"https", b"", PATH.encode(), (), b"x")
    answer = ask(url, config, request, Form.PADDED, Framing.WHOLE)
    assert isinstance(answer, Response)
    assert (b"inner-path", seen.encode()) in answer.headers


def test_javascript_drops_the_query(drivers: Drivers, relay: str, keys: bytes) -> None:
    client = drivers.client("javascript")
    answer = client.ask(case(cell_of("javascript"), relay, keys, PATH, b"x"))
    assert dict(answer["headers"])["inner-path"] == "/v1/echo"


def test_go_rejects_a_key_with_400(drivers: Drivers) -> None:
    url = drivers.gateway("go")
    config = decode_key_configs(fetched(url))[0]
    unknown = KeyConfig(77, config.kem_id, config.public_key, config.symmetric_algorithms)
    sealed, _ = encapsulate_request(unknown, b"")
    headers = {"content-type": "message/ohttp-req"}
    with httpx.Client(trust_env=False) as client:
        answer = client.post(url, content=sealed, headers=headers)
    assert answer.status_code == 400
    assert json.loads(answer.content)["type"] == KEY_PROBLEM
    assert is_key_rejected(answer)  # so our client asks for new keys there too
