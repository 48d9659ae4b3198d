"""Mirrors on the command line: a question waits for them, is refused, or warned of."""

import json
import time
from pathlib import Path

import pytest

from oblivious_client import configuration, evidence
from oblivious_client.configuration import Configuration
from oblivious_client.exits import Exit
from oblivious_client.releases.keys_seen import KeysSeen, decode_notes, encode_notes
from protocol.note_key import NoteSigner
from protocol.signed_note import Note
from tests.oblivious_client.test_release_signing import key_file
from tests.support.gateway import StandInGateway
from tests.support.released_gateway import Outcome, User, listed, running, user
from tests.support.releases import WITNESSES

__all__ = ["user"]

KEYS_SEEN = "/.well-known/oblivious-inference/keys-seen.json"
GATEWAY = "gateway.example"
A, B, _ = WITNESSES


WAITED = evidence.MIRROR_PAUSES


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MIRROR_PAUSES", (0.0, 0.0))


def mirror(user: User, folder: Path, signer: NoteSigner, *more: object) -> Outcome:
    named = ["--key", key_file(folder, signer), "--name", signer.name, "--mirror-of", GATEWAY]
    return user("releases mirror", *named, "--out", folder / signer.name, *more)


def served(user: User, folder: Path, *signers: NoteSigner) -> None:
    """Have the relay serve the notes of some mirrors."""
    notes = [decode_notes((folder / each.name).read_bytes())[0] for each in signers]
    user.gateway.files[KEYS_SEEN] = encode_notes(notes)


def chat(user: User, *more: object) -> Outcome:
    return user("chat", "--mirror", A.key.encode(), "--mirror-of", GATEWAY, *more, "Hi")


def test_a_question_whose_keys_a_mirror_has_seen(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    assert mirror(user, tmp_path, A).out.startswith("1 lists of keys in 48 hours")
    served(user, tmp_path, A)
    for _ in range(2):  # also when the evidence lies in the cache, for those without mirrors
        assert chat(user).code == Exit.OK
        assert user.asked()[-3:] == ["/v1/attestation", KEYS_SEEN, "/"]
        assert user("chat", "Hi").code == Exit.OK
    assert user("keys", "--mirror", A.key.encode()).code == Exit.OK


def test_keys_made_for_one_person(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    mirror(user, tmp_path, A)
    served(user, tmp_path, A)
    user.gateway.rotate()
    outcome = chat(user)
    assert outcome.code == Exit.KEYS_UNSEEN
    assert "fewer than 1 of 1 mirrors have seen the keys" in outcome.err
    assert user.asked().count(KEYS_SEEN) == 3  # a mirror may see keys of a new enclave soon
    assert outcome.err.count("no mirror has seen these keys yet") == 1  # why nothing happens
    assert user.gateway.posts() == []
    # The mirror comes by, and sees them.
    mirror(user, tmp_path, A)
    served(user, tmp_path, A)
    assert chat(user).code == Exit.OK


def test_keys_have_the_time_in_which_every_mirror_comes_by_to_be_seen(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(evidence, "MIRROR_PAUSES", WAITED)
    monkeypatch.setattr("oblivious_client.transport.time.sleep", pauses.append)
    user.publish(listed(running(1)))
    mirror(user, tmp_path, A)
    served(user, tmp_path, A)
    user.gateway.rotate()
    outcome = chat(user)
    assert outcome.code == Exit.KEYS_UNSEEN
    assert pauses == [60] * 5  # it asks every five minutes
    assert "looking again for up to 5 min" in outcome.err


def test_a_mirror_that_says_nothing(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    outcome = chat(user)
    assert outcome.code == Exit.KEYS_UNSEEN
    assert "no mirror has seen these keys yet" not in outcome.err
    assert user.asked().count(KEYS_SEEN) == 1
    assert user.gateway.posts() == []
    outcome = chat(user, "--mirror-down", "warn")
    assert outcome.code == Exit.OK
    assert "warning: nobody vouches that others are given the same keys" in outcome.err
    mirror(user, tmp_path, B)
    served(user, tmp_path, B)
    assert chat(user).code == Exit.KEYS_UNSEEN
    assert chat(user, "--mirror", B.key.encode(), "--mirrors", 1).code == Exit.OK
    assert chat(user, "--mirror", B.key.encode()).code == Exit.KEYS_UNSEEN


def test_as_many_lists_as_the_trust_says(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    keys = user.gateway.evidence().ohttp_keys
    now = int(time.time())
    seen = KeysSeen(GATEWAY, 172800, ()).seeing(keys, now)
    for number in range(16):
        seen = seen.seeing(bytes([number]), now)
    text = seen.encode()
    user.gateway.files[KEYS_SEEN] = encode_notes([Note(text, (A.sign(text, now),))])
    outcome = chat(user)
    assert outcome.code == Exit.KEYS_UNSEEN
    assert "more than 16 lists" in outcome.err
    trust = json.loads(user.trust.read_text())
    user.trust.write_text(json.dumps({**trust, "max_lists": 17}))
    assert chat(user).code == Exit.OK


def test_a_mirror_keeps_what_it_has_said(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    mirror(user, tmp_path, A)
    user.gateway.rotate()
    assert mirror(user, tmp_path, A).out.startswith("2 lists")
    other = ["--mirror-of", "other.example"]
    assert mirror(user, tmp_path, A, *other).code == Exit.USAGE
    note = tmp_path / A.name
    for content in (b"garbage", (tmp_path / A.name).read_bytes().replace(b"2", b"3")):
        note.write_bytes(content)
        outcome = mirror(user, tmp_path, A)
        assert outcome.code == Exit.USAGE
        assert "no note of this mirror's" in outcome.err
        assert note.read_bytes() == content
    note.unlink()
    note.mkdir()
    assert "cannot read" in mirror(user, tmp_path, A).err


def test_wrong_usage(user: User, tmp_path: Path) -> None:
    signer = WITNESSES[0]
    named = ["--key", key_file(tmp_path, signer), "--name", signer.name]
    for arguments in (
        ["releases mirror", *named, "--out", "o"],
        ["releases mirror", *named, "--mirror-of", GATEWAY],
        ["chat", "--mirror", "nonsense", "Hi"],
        ["chat", "--mirror", A.key.encode(), "--mirrors", 2, "Hi"],
        ["chat", "--mirror", "build-a.example+a2d42f15+AVo=", "Hi"],
        ["chat", "--mirror-down", "ignore", "Hi"],
    ):
        assert user(*arguments).code == Exit.USAGE


def test_another_relay_gives_the_same_keys_or_is_said_not_to(user: User) -> None:
    user.publish(listed(running(1)))
    with StandInGateway(name="second") as other:
        other.files.update(user.gateway.files)
        outcome = user("keys", "--also", other.url)
        assert outcome.code == Exit.KEYS_UNSEEN
        assert f"{other.url} serves other keys" in outcome.err
        other.keys, other.accepted[:] = user.gateway.keys, user.gateway.keys
        assert user("keys", "--also", other.url).code == Exit.OK
    assert user("keys", "--also", user.gateway.url).code == Exit.OK
    assert user("keys", "--also", "nonsense").code == Exit.USAGE


def test_mirrors_of_the_configuration_file_need_no_further_words(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    user.publish(listed(running(1)))
    configuration.write(
        configuration.place(), Configuration(mirror=(A.key.encode(),), mirror_of=GATEWAY)
    )
    assert user("chat", "Hi").code == Exit.KEYS_UNSEEN
    warned = user("chat", "--mirror-down", "warn", "Hi")
    assert warned.code == Exit.OK
    assert "nobody vouches" in warned.err
    mirror(user, tmp_path, A)
    served(user, tmp_path, A)
    assert user("chat", "Hi").code == Exit.OK
    assert user("chat", "--mirror", B.key.encode(), "Hi").code == Exit.KEYS_UNSEEN
    assert "mirror_of" in user("config show").out


def test_setup_writes_mirrors_down_once_they_have_vouched(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    user.publish(listed(running(1)))
    words = ["--mirror", A.key.encode(), "--mirror-of", GATEWAY]
    assert user("setup", *words).code == Exit.KEYS_UNSEEN
    assert not configuration.place().exists()
    mirror(user, tmp_path, A)
    served(user, tmp_path, A)
    assert user("setup", *words).code == Exit.OK
    assert user("setup", "--mirror-down", "warn").code == Exit.OK
    written = configuration.read(configuration.place())
    assert written.mirror == (A.key.encode(),)
    assert (written.mirror_of, written.mirror_down) == (GATEWAY, "warn")
