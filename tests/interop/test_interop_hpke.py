"""HPKE by itself with Go's standard library, in both directions: both mechanisms, every suite."""

from typing import Any

import pytest

from protocol import hpke
from protocol.hpke import Aead, Kdf
from protocol.kem import KEMS, X25519_HKDF_SHA256, X_WING, Kem
from tests.interop.cells import SUITES
from tests.interop.conftest import Drivers
from tests.interop.peers import HPKE_PEER, DriverClient
from tests.interop.report import PASSED, SHORT, Report

INFO = b"message/bhttp request\0"  # and what is authenticated beside each message
MESSAGES = [b"", b"first", bytes(range(256)) * 64]
SEED = bytes(range(32))

MECHANISMS = pytest.mark.parametrize("kem", KEMS.values(), ids=lambda kem: kem.name)
ALGORITHMS = pytest.mark.parametrize("aead", SUITES, ids=SUITES.values())


@pytest.fixture
def driver(drivers: Drivers) -> DriverClient:
    """The driver on Go's standard library."""
    return drivers.client(HPKE_PEER.name)


@pytest.fixture
def row(kem: Kem, aead: Aead, report: Report) -> tuple[str, str, str]:
    """The row of this test, which says `failed` until it has passed."""
    name = (HPKE_PEER.name, SHORT[kem.code], SUITES[aead])
    report.hpke[name] = "failed"
    return name


def task(do: str, kem: Kem, aead: Aead, **more: Any) -> dict[str, object]:
    """Return what the driver is asked to do; octets in hexadecimal."""
    messages = [message.hex() for message in more.pop("messages")]
    fields = {name: value.hex() for name, value in more.items()}
    suite = {"kem": kem.code, "kdf": Kdf.HKDF_SHA256, "aead": aead}
    return {"do": do, **suite, "info": INFO.hex(), "messages": messages, **fields}


@MECHANISMS
@ALGORITHMS
def test_both_ends(
    kem: Kem, aead: Aead, driver: DriverClient, report: Report, row: tuple[str, str, str]
) -> None:
    key = kem.load_private_key(SEED)
    answer = driver.ask(task("seal", kem, aead, public_key=key.public_key, messages=MESSAGES))
    enc = bytes.fromhex(answer["enc"])
    recipient = hpke.setup_recipient(kem, enc, key, Kdf.HKDF_SHA256, aead, INFO)
    opened = [recipient.open(bytes.fromhex(sealed), INFO) for sealed in answer["messages"]]
    assert opened == MESSAGES
    assert recipient.export(INFO, 32).hex() == answer["exported"]

    sender = hpke.setup_sender(kem, key.public_key, Kdf.HKDF_SHA256, aead, INFO)
    sealed = [sender.seal(message, INFO) for message in MESSAGES]
    asked = task("open", kem, aead, private_key=SEED, enc=sender.enc, messages=sealed)
    answer = driver.ask(asked)
    assert [bytes.fromhex(message) for message in answer["messages"]] == MESSAGES
    assert sender.export(INFO, 32).hex() == answer["exported"]
    assert answer["public_key"] == key.public_key.hex()
    report.hpke[row] = PASSED


@MECHANISMS
def test_what_we_refuse_it_refuses_too(kem: Kem, driver: DriverClient) -> None:
    sender = hpke.setup_sender(
        kem, kem.load_private_key(SEED).public_key, Kdf.HKDF_SHA256, Aead.AES_128_GCM, INFO
    )
    sealed = sender.seal(b"message", INFO)
    wrong = {
        "another beginning": bytes([sender.enc[0] ^ 1]) + sender.enc[1:],
        "no point": sender.enc[:-32] + bytes(32),
        "too short": sender.enc[:-1],
        "too long": sender.enc + b"\0",
    }
    for name, enc in wrong.items():
        asked = task("open", kem, Aead.AES_128_GCM, private_key=SEED, enc=enc, messages=[sealed])
        assert "error" in driver.ask(asked), name


def test_it_refuses_keys_out_of_range_too(driver: DriverClient) -> None:
    for kem, wrong in ((X_WING, b"\xff" * 1216), (X25519_HKDF_SHA256, bytes(32))):
        asked = task("seal", kem, Aead.AES_128_GCM, public_key=wrong, messages=[])
        assert "error" in driver.ask(asked)
