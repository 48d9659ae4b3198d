"""Builders sign what they have built, witnesses what only grew."""

import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from oblivious_client.exits import Exit
from oblivious_client.releases.published import Unverified, unsigned, verify
from protocol.note_key import NoteKey, NoteSigner, signers
from protocol.signed_note import Note
from tests.support.released_gateway import RELEASES, Outcome, User, begun, listed, running, user
from tests.support.releases import BUILDERS, STRANGER, TRUST, WITNESSES, Log, change, note

__all__ = ["user"]


def key_file(folder: Path, signer: NoteSigner) -> Path:
    path = folder / f"{signer.name}.pem"
    path.write_bytes(
        signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def statement(tmp_path: Path) -> Path:
    """A statement that nobody has signed yet."""
    path = tmp_path / "statement"
    path.write_text(running(1).encode())
    return path


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What a build of the release printed."""
    path = tmp_path / "measurements.json"
    registers = {f"PCR{index}": value.hex() for index, value in running(1).pcrs.items()}
    path.write_text(json.dumps({"Measurements": registers}))
    return path


def sign(user: User, folder: Path, signer: NoteSigner, *more: object) -> Outcome:
    key = key_file(folder, signer)
    return user("releases sign", *more, "--key", key, "--name", signer.name)


def test_builders_add_their_lines(user: User, tmp_path: Path, statement: Path, built: Path) -> None:
    for builder in BUILDERS[:2]:
        outcome = sign(user, tmp_path, builder, statement, "--measurements", built)
        assert outcome.code == Exit.OK
        assert "signed 1.1.0" in outcome.out
    assert statement.read_text() == note(running(1)).encode()
    # Once more changes nothing: these signatures are deterministic.
    sign(user, tmp_path, BUILDERS[0], statement, "--measurements", built)
    assert statement.read_text() == note(running(1)).encode()


def test_lines_made_apart_are_joined_by_appending(user: User, tmp_path: Path, built: Path) -> None:
    text = running(1).encode()
    apart = []
    for builder in BUILDERS[:2]:
        path = tmp_path / builder.name
        path.write_text(text)
        sign(user, tmp_path, builder, path, "--measurements", built)
        apart.append(path.read_text())
    lines = apart[1].removeprefix(text + "\n")
    found = Note.decode(apart[0] + lines)
    assert len(signers(found, TRUST.builders.keys)) == 2


def test_nobody_signs_what_he_has_not_built(
    user: User, tmp_path: Path, statement: Path, built: Path
) -> None:
    text = statement.read_text()
    assert sign(user, tmp_path, BUILDERS[0], statement).code == Exit.USAGE
    for index in range(3):
        measured = json.loads(built.read_text())["Measurements"]
        other = tmp_path / "other.json"
        other.write_text(json.dumps({**measured, f"PCR{index}": "11" * 48}))
        outcome = sign(user, tmp_path, BUILDERS[0], statement, "--measurements", other)
        assert outcome.code == Exit.PCRS
        assert "nothing was signed" in outcome.err
        del measured[f"PCR{index}"]
        other.write_text(json.dumps(measured))
        outcome = sign(user, tmp_path, BUILDERS[0], statement, "--measurements", other)
        assert outcome.code == Exit.PCRS
    other.write_text(json.dumps([json.loads(built.read_text())] * 2))
    outcome = sign(user, tmp_path, BUILDERS[0], statement, "--measurements", other)
    assert outcome.code == Exit.PCRS
    assert statement.read_text() == text


def test_a_change_is_signed_without_a_build(user: User, tmp_path: Path) -> None:
    path = tmp_path / "change"
    path.write_text(change(TRUST, []).text)
    assert sign(user, tmp_path, BUILDERS[0], path).code == Exit.OK
    assert path.read_text() == change(TRUST, BUILDERS[:1]).encode()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\xff", b"a\n\nb\n"])
def test_what_is_no_statement(user: User, tmp_path: Path, built: Path, content: bytes) -> None:
    path = tmp_path / "statement"
    path.write_bytes(content)
    outcome = sign(user, tmp_path, BUILDERS[0], path, "--measurements", built)
    assert outcome.code == Exit.USAGE
    assert "is no statement" in outcome.err
    assert path.read_bytes() == content


def test_nobody_signs_below_a_forged_line(
    user: User, tmp_path: Path, statement: Path, built: Path
) -> None:
    forged = Note(running(1).encode(), (BUILDERS[1].sign("another\n"),)).encode()
    statement.write_text(forged)
    outcome = sign(user, tmp_path, BUILDERS[0], statement, "--measurements", built)
    assert outcome.code == Exit.USAGE
    assert statement.read_text() == forged


def test_wrong_usage(user: User, tmp_path: Path, statement: Path) -> None:
    key = key_file(tmp_path, BUILDERS[0])
    named = ["--key", key, "--name", "a"]
    for arguments in (
        ["releases sign", *named],
        ["releases sign", tmp_path / "none", *named],
        ["releases witness", *named],
        ["releases witness", "word", "--out", "o", *named],
        ["releases key"],
        ["releases key", "--key", key],
        ["releases key", "--key", key, "--name", "a b"],
        ["releases key", "--key", statement, "--name", "a"],
    ):
        assert user(*arguments).code == Exit.USAGE


def test_a_key_is_shown_as_trust_names_it(user: User, tmp_path: Path) -> None:
    key = key_file(tmp_path, BUILDERS[0])
    outcome = user("releases key", "--key", key, "--name", BUILDERS[0].name)
    assert outcome.out == BUILDERS[0].key.encode() + "\n"
    outcome = user("releases key --witness", "--key", key, "--name", "w.example")
    assert NoteKey.decode(outcome.out.strip()).kind.is_timed
    key.chmod(0o644)
    assert "chmod 600" in user("releases key", "--key", key, "--name", "a").err


# Witnesses.


def cosign(user: User, folder: Path, *more: object, signer: NoteSigner = WITNESSES[2]) -> Outcome:
    key = key_file(folder, signer)
    out = folder / "witnessed.json"
    return user("releases witness", *more, "--key", key, "--name", signer.name, "--out", out)


def test_a_witness_adds_its_time(user: User, tmp_path: Path) -> None:
    log = listed(running(1))
    user.publish(log, days=6)
    before = int(time.time())
    outcome = cosign(user, tmp_path)
    assert outcome.code == Exit.OK
    found = Unverified.decode((tmp_path / "witnessed.json").read_bytes())
    published = verify(found, TRUST)
    times = {each.key.name: each.time for each in published.witnesses}
    assert before <= (times["witness-c.example"] or 0) <= time.time()
    assert found.entries == log.notes().entries
    # One more day, one more list; its own line is replaced.
    assert cosign(user, tmp_path, "--releases", tmp_path / "witnessed.json").code == Exit.OK
    again = Unverified.decode((tmp_path / "witnessed.json").read_bytes())
    assert len(again.checkpoint.signatures) == 4


def test_a_witness_wants_no_other_witness(user: User, tmp_path: Path) -> None:
    user.publish(Log(TRUST, [*listed(running(1)).entries], witnesses=()))
    assert cosign(user, tmp_path).code == Exit.OK


def test_a_witness_signs_no_shorter_list_and_no_other_past(user: User, tmp_path: Path) -> None:
    log = listed(running(1), begun(2))
    user.publish(log)
    assert cosign(user, tmp_path).code == Exit.OK
    (tmp_path / "witnessed.json").unlink()
    user.publish(log.fork(1))
    assert cosign(user, tmp_path).code == Exit.RELEASES_CONFLICT
    user.publish(log)
    assert cosign(user, tmp_path).code == Exit.RELEASES_CONFLICT  # a person has to decide
    assert not (tmp_path / "witnessed.json").exists()


def test_a_witness_signs_nothing_that_does_not_verify(user: User, tmp_path: Path) -> None:
    log = listed(running(1))
    user.gateway.files[RELEASES] = unsigned(log.entries, TRUST).encode()
    assert cosign(user, tmp_path).code == Exit.RELEASES_REFUSED
    user.publish(Log(TRUST, log.entries, STRANGER))
    assert cosign(user, tmp_path).code == Exit.RELEASES_REFUSED
    assert not (tmp_path / "witnessed.json").exists()


def test_where_nothing_can_be_written(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    key = key_file(tmp_path, WITNESSES[2])
    (tmp_path / "no").write_text("")
    out = tmp_path / "no" / "where"
    named = ["--key", key, "--name", WITNESSES[2].name]
    assert user("releases witness", *named, "--out", out).code == Exit.USAGE


def test_a_private_key_of_another_kind(user: User, tmp_path: Path) -> None:
    path = tmp_path / "raw.pem"
    path.write_bytes(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    assert user("releases key", "--key", path, "--name", "a").code == Exit.USAGE
