"""What `oblivious-client releases` does for builders and witnesses: key, sign, witness."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from oblivious_client import provision, release_settings, settings
from oblivious_client.client import ObliviousClient
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.fetching import fetch_releases
from oblivious_client.policy import read_releases
from oblivious_client.releases import statements
from oblivious_client.releases.keys_seen import (
    WINDOW_SECONDS,
    KeysSeen,
    decode_notes,
    encode_notes,
)
from oblivious_client.releases.memory import ReleaseMemory, contradiction, follows
from oblivious_client.releases.published import Unverified, cosigned, verify_unwitnessed
from oblivious_client.releases.refusals import ListRefused
from oblivious_client.releases.statements import Change, Release
from oblivious_client.releases.trust import Trust
from protocol.errors import ProtocolError, SignatureInvalid
from protocol.note_key import NoteKeyKind, NoteSigner, signers
from protocol.signed_note import Note, is_key_name

Chosen = argparse.Namespace


def key(chosen: Chosen) -> Exit:
    """Print the public half of a key, as trust.json names it."""
    kind = NoteKeyKind.ED25519_COSIGNATURE if chosen.witness else NoteKeyKind.ED25519
    print(_signer(chosen, kind).key.encode())
    return Exit.OK


def sign(chosen: Chosen) -> Exit:
    """Add a builder's line to a statement if his own build has the same measurements."""
    match chosen.words:
        case [word]:
            path = Path(word)
        case _:
            raise UsageError("`releases sign` takes a FILE with a statement")
    note = _note_in(path)
    statement = _statement(note, path, release_settings.required_trust(chosen))
    if isinstance(statement, Release):
        _require_built(chosen, statement)
    signer = _signer(chosen, NoteKeyKind.ED25519)
    write(path, note.signed([signer.sign(note.text)]).encode())
    print(f"signed {statement if isinstance(statement, Release) else 'a change'}: {path}")
    return Exit.OK


def witness(chosen: Chosen) -> Exit:
    """Add a cosignature to the list's checkpoint, if the list begins with the last one seen."""
    if chosen.words or chosen.out is None:
        raise UsageError("`releases witness` takes --out FILE, and no more words")
    signer = _signer(chosen, NoteKeyKind.ED25519_COSIGNATURE)
    trust = release_settings.required_trust(chosen)
    # Not in a cache, which others empty: what a witness forgets he signs twice.
    memory = ReleaseMemory(chosen.out.with_name(f"{chosen.out.name}.seen"))
    memory.require_no_conflict()
    served = _served(chosen)
    try:
        published = verify_unwitnessed(Unverified.decode(served), trust)
    except ListRefused as refusal:
        raise EvidenceRefused(
            f"the list is not witnessed: {refusal}", code=Exit.RELEASES_REFUSED
        ) from refusal
    now = int(time.time())
    with memory.alone():
        seen = memory.load()
        if seen is not None and not follows(published.notes, seen.size, seen.root):
            # A witness vouches that nothing was ever taken back: for him a shorter list is one.
            raise contradiction(memory.keep_conflict(seen.notes, published.notes))
        # First remembered, then signed: a line that is lost can be made again, a memory cannot.
        memory.store(published, now)
    write(chosen.out, cosigned(published.notes, signer, now).encode().decode())
    print(f"witnessed {published.checkpoint.size} entries: {chosen.out}")
    return Exit.OK


def mirror(chosen: Chosen) -> Exit:
    """Look at the keys that are served, as any client does, and add them to the mirror's note."""
    if chosen.words or chosen.out is None or chosen.mirror_of is None:
        raise UsageError("`releases mirror` takes --out FILE and --mirror-of NAME")
    signer = _signer(chosen, NoteKeyKind.ED25519_COSIGNATURE)
    before = _mirrored(chosen, signer)
    route = settings.route(chosen, releases=release_settings.releases(chosen))
    # No cache: what is served now is what others are served now.
    with ObliviousClient(replace(route, cache=None, mirrors=None)) as client:
        keys = client.evidence().evidence.ohttp_keys
    now = int(time.time())
    seen = before.seeing(keys, now)
    text = seen.encode()
    write(chosen.out, encode_notes([Note(text, (signer.sign(text, now),))]).decode())
    print(f"{len(seen.lists)} lists of keys in {seen.window // 3600} hours: {chosen.out}")
    return Exit.OK


def _mirrored(chosen: Chosen, signer: NoteSigner) -> KeysSeen:
    """Return what the mirror has said before; raises UsageError for a note that is not its own."""
    try:
        (note,) = decode_notes(chosen.out.read_bytes())
        said = KeysSeen.decode(note.text)
        is_own = said.gateway == chosen.mirror_of and bool(signers(note, [signer.key]))
    except FileNotFoundError:
        return KeysSeen(chosen.mirror_of, WINDOW_SECONDS, ())
    except OSError as error:
        raise UsageError(f"cannot read {chosen.out}: {error.strerror}") from error
    except (ProtocolError, ValueError):
        is_own = False
    if not is_own:
        raise UsageError(
            f"{chosen.out} is no note of this mirror's on {chosen.mirror_of}",
            advice="name another file, or move it away if the mirror is to begin anew",
        )
    return said


def write(path: Path, text: str) -> None:
    """Replace a file at once; raises UsageError."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=path.parent, delete=False
        ) as file:
            file.write(text)
        Path(file.name).chmod(0o644)  # it is public
        Path(file.name).replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _served(chosen: Chosen) -> bytes:
    if chosen.releases is not None:
        return release_settings.read_list(chosen.releases)
    route = replace(settings.route(chosen, releases=None), releases=None)
    with ObliviousClient(route) as client:
        return client.transport.run(fetch_releases(route.endpoint))


def _signer(chosen: Chosen, kind: NoteKeyKind) -> NoteSigner:
    if chosen.key is None or chosen.name is None:
        raise UsageError(
            f"`releases {chosen.action}` takes --key FILE and --name NAME",
            advice="make a key with: openssl genpkey -algorithm ed25519 -out FILE",
        )
    if not is_key_name(chosen.name):
        raise UsageError("--name is no name of a key: no spaces and no plus, as build.example.org")
    private = provision.read_administrator(chosen.key)
    if provision.is_open_to_others(chosen.key):
        print(
            f"warning: other users of this machine can open {chosen.key}: chmod 600 it",
            file=sys.stderr,
        )
    return NoteSigner(chosen.name, kind, private)


def _note_in(path: Path) -> Note:
    """Return the note in a file, or of a statement that nobody has signed yet."""
    try:
        text = path.read_bytes().decode()
        return Note.decode(text) if "\n\n" in text else Note(text, ())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ProtocolError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no statement: {error}") from error


def _statement(note: Note, path: Path, trust: Trust) -> Release | Change:
    try:
        statement = statements.decode(note.text, trust)
        signers(note, trust.builders.keys)  # nobody signs below a forged line
    except (ProtocolError, SignatureInvalid) as error:
        raise UsageError(f"{path} is no statement: {error}") from error
    return statement


def _require_built(chosen: Chosen, statement: Release) -> None:
    if chosen.measurements is None:
        raise UsageError(
            "a builder signs what he has built: give --measurements FILE",
            advice="save what `scripts/build-eif` printed for the commit of the statement",
        )
    found, *others = read_releases(chosen.measurements)
    if others or any(found.get(index) != value for index, value in statement.pcrs.items()):
        raise EvidenceRefused(
            "your build has other measurements than the statement: nothing was signed",
            advice=f"build commit {statement.commit}, with the configuration and the kernel "
            "that the statement names, and compare",
            code=Exit.PCRS,
        )
