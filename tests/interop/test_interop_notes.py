"""Signed notes with Go's own, and checkpoints with transparency-dev's, in both directions."""

import time
from typing import Any

import pytest

from oblivious_client.releases.published import Unverified, verify
from protocol.errors import SignatureInvalid
from protocol.merkle_tree import root_hash
from protocol.note_key import NoteKey, NoteKeyKind, Signed, signers
from protocol.signed_note import Note
from tests.interop.conftest import Drivers
from tests.interop.peers import NOTE_PEER, DriverClient
from tests.support.releases import (
    BUILDERS,
    LOG,
    NOW,
    STRANGER,
    TRUST,
    WITNESSES,
    log_of,
    release,
    signer,
    witness,
)

NOTES = log_of(*(release(number) for number in range(1, 8))).notes(NOW)
TEXTS = [note.text for note in NOTES.entries]


@pytest.fixture
def go(drivers: Drivers) -> DriverClient:
    """The driver on Go's signed notes."""
    return drivers.client(NOTE_PEER.name)


def done(driver: DriverClient, do: str, **more: Any) -> dict[str, Any]:
    """Return what the driver makes of something."""
    answer = driver.ask({"do": do, **more})
    assert "error" not in answer, answer
    return answer


def test_it_opens_the_entries_of_a_list(go: DriverClient) -> None:
    for note in NOTES.entries:
        keys = [each.key.encode() for each in BUILDERS]
        found = done(go, "open", note=note.encode(), keys=keys)
        assert found["text"] == note.text
        assert found["signers"] == ["build-a.example", "build-b.example"]


def test_it_opens_the_checkpoint_with_its_witnesses(go: DriverClient) -> None:
    timed = [each.key.encode() for each in WITNESSES]
    text = NOTES.checkpoint.encode()
    asked = {"origin": TRUST.origin, "log": LOG.key.encode(), "timed": timed}
    found = done(go, "checkpoint", note=text, **asked)
    assert (found["size"], found["root"]) == (7, NOTES.root().hex())
    assert found["signers"] == ["log.example", "witness-a.example", "witness-b.example"]
    found = done(go, "open", note=text, timed=timed)
    assert found["times"] == {"witness-a.example": NOW, "witness-b.example": NOW}


def test_its_root_is_ours(go: DriverClient) -> None:
    for count in range(len(TEXTS) + 1):
        entries = [text.encode() for text in TEXTS[:count]]
        assert done(go, "root", entries=TEXTS[:count])["root"] == root_hash(entries).hex()


@pytest.fixture
def theirs(go: DriverClient) -> dict[str, Any]:
    """A key that it has made."""
    return done(go, "key", name="go.example")


def test_we_open_what_it_signs(go: DriverClient, theirs: dict[str, Any]) -> None:
    key = NoteKey.decode(theirs["key"])
    assert key.encode() == theirs["key"]
    for text in (*TEXTS, "\n", "é\n\n\nb\n"):
        note = Note.decode(done(go, "sign", text=text, key=theirs["private"])["note"])
        assert note.text == text
        assert signers(note, [key]) == (Signed(key, None),)


def test_we_verify_its_cosignature(go: DriverClient, theirs: dict[str, Any]) -> None:
    plain = NoteKey.decode(theirs["key"])
    key = NoteKey("go.example", NoteKeyKind.ED25519_COSIGNATURE, plain.public_key)
    text = NOTES.checkpoint.text
    begun = int(time.time())
    note = Note.decode(done(go, "cosign", text=text, key=theirs["private"])["note"])
    ((found, at),) = [(each.key, each.time) for each in signers(note, [key, plain])]
    assert found == key
    assert begun <= (at or 0) <= time.time()
    both = Unverified(NOTES.checkpoint.signed(note.signatures), NOTES.entries)
    assert verify(both, TRUST).as_of == NOW


def test_we_verify_its_cosignature_with_ml_dsa(go: DriverClient) -> None:
    made = done(go, "ml-dsa-key", name="go.example")
    key = NoteKey.decode(made["key"])
    assert key.kind is NoteKeyKind.ML_DSA_44_COSIGNATURE
    text = NOTES.checkpoint.text
    note = Note.decode(done(go, "cosign", text=text, key=made["private"])["note"])
    ((found, at),) = [(each.key, each.time) for each in signers(note, [key])]
    assert found == key
    assert abs((at or 0) - time.time()) < 3600
    other = Note(text.replace("\n7\n", "\n8\n"), note.signatures)
    with pytest.raises(SignatureInvalid):
        signers(other, [key])


def test_what_we_refuse_it_refuses_too(go: DriverClient) -> None:
    note = NOTES.entries[0]
    key = BUILDERS[0].key.encode()
    texts = [
        note.encode().replace("1.1.0", "1.1.1"),
        note.encode()[:-1],
        note.encode() + "\n",
        note.encode().replace("— ", "- "),
        note.text,
        Note(note.text, (STRANGER.sign(note.text),)).encode(),
    ]
    for text in texts:
        assert "error" in go.ask({"do": "open", "note": text, "keys": [key]}), text
    # A witness's line is not a signer's, nor the reverse, though the private key be the same.
    plain, timed = signer("a.example"), witness("a.example")
    for line, name in ((plain.sign(note.text), "timed"), (timed.sign(note.text, NOW), "keys")):
        text = Note(note.text, (line,)).encode()
        assert "error" in go.ask({"do": "open", "note": text, name: [plain.key.encode()]})
