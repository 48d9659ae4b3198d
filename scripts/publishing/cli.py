"""Make what is published of a release.

    scripts/release trust --origin NAME --log VKEY --builders K VKEY... --witnesses K VKEY...
                          [--independent NAME]... [--out FILE]
    scripts/release state --version V --sequence N --floor N --valid-from SECONDS --commit SHA
                          --kernel NAME --config FILE --sbom FILE [--measurements FILE]
                          [--out FILE] IMAGE.eif
    scripts/release change [--out FILE] TRUST.json
    scripts/release add   --trust FILE --list FILE --key FILE --name NAME [--out FILE] STATEMENT...
    scripts/release join  [--out FILE] LIST...

`trust` writes the names, keys and thresholds that clients are given; keys are as
`oblivious-client releases key` prints them. `state` measures an image and writes the statement that
builders sign with `oblivious-client releases sign`. `change` writes the entry by which what follows
it in the list is judged by another trust; old and new builders sign it like a statement. `add` puts
what is signed at the end of a list, which need not be there yet, and signs its checkpoint with the
log's key; then witnesses cosign it, and `join` makes one list of theirs. Exit codes: 0 done, 1 not
done (the last line says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oblivious_client.errors import ClientError
from oblivious_client.provision import read_administrator
from oblivious_client.releases.published import Unverified
from oblivious_client.releases.statements import Change
from oblivious_client.releases.trust import Quorum, Trust
from oblivious_client.releases.trust_file import read_trust
from protocol.errors import ProtocolError
from protocol.note_key import NoteKey, NoteKeyKind, NoteSigner
from protocol.signed_note import Note
from scripts.image.eif import EifError
from scripts.publishing.listing import extended, joined, logged
from scripts.publishing.stating import PublishingError, state

STATED = ("version", "sequence", "floor", "valid_from", "commit", "kernel", "config", "sbom")
FAILURES = (PublishingError, ProtocolError, ClientError, EifError)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser("scripts/release", usage=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    trust = commands.add_parser("trust", allow_abbrev=False)
    for name in ("origin", "log"):
        trust.add_argument(f"--{name}", required=True)
    for name in ("builders", "witnesses"):
        trust.add_argument(f"--{name}", required=True, nargs="+", metavar="K VKEY")
    trust.add_argument("--independent", action="append", default=[], metavar="NAME")
    stated = commands.add_parser("state", allow_abbrev=False)
    for name in ("version", "commit", "kernel"):
        stated.add_argument(f"--{name}", required=True)
    for name in ("sequence", "floor", "valid-from"):
        stated.add_argument(f"--{name}", required=True, type=int)
    for name in ("config", "sbom"):
        stated.add_argument(f"--{name}", required=True, type=Path)
    stated.add_argument("--measurements", type=Path)
    stated.add_argument("image", type=Path)
    change = commands.add_parser("change", allow_abbrev=False)
    change.add_argument("trust", type=Path)
    add = commands.add_parser("add", allow_abbrev=False)
    for name in ("trust", "list", "key"):
        add.add_argument(f"--{name}", required=True, type=Path)
    add.add_argument("--name", required=True)
    add.add_argument("statements", nargs="+", type=Path)
    join = commands.add_parser("join", allow_abbrev=False)
    join.add_argument("lists", nargs="+", type=Path)
    for each in (trust, stated, change, add, join):
        each.add_argument("--out", type=Path)
    return parser.parse_args(arguments)


def _trust(asked: argparse.Namespace) -> bytes:
    try:
        return Trust(
            asked.origin,
            NoteKey.decode(asked.log),
            _quorum(asked.builders),
            _quorum(asked.witnesses),
            frozenset(asked.independent),
        ).encode_file()
    except ValueError as error:
        raise PublishingError(str(error)) from error


def _quorum(words: list[str]) -> Quorum:
    threshold, *keys = words
    return Quorum(int(threshold), tuple(map(NoteKey.decode, keys)))


def _state(asked: argparse.Namespace) -> bytes:
    members = {name: getattr(asked, name) for name in STATED}
    return state(asked.image, asked.measurements, members).encode().encode()


def _change(asked: argparse.Namespace) -> bytes:
    return Change(read_trust(asked.trust)).encode().encode()


def _add(asked: argparse.Namespace) -> bytes:
    trust = read_trust(asked.trust)
    before = Unverified.decode(asked.list.read_bytes()) if asked.list.exists() else None
    more = [Note.decode(path.read_bytes().decode()) for path in asked.statements]
    signer = NoteSigner(asked.name, NoteKeyKind.ED25519, read_administrator(asked.key))
    return logged(extended(before, more, trust), signer).encode()


def _join(asked: argparse.Namespace) -> bytes:
    return joined([Unverified.decode(path.read_bytes()) for path in asked.lists]).encode()


COMMANDS = {"trust": _trust, "state": _state, "change": _change, "add": _add, "join": _join}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    asked = parse(arguments)
    try:
        content = COMMANDS[asked.command](asked)
        if asked.out is None:
            sys.stdout.write(content.decode())
        else:
            asked.out.write_bytes(content)
    except OSError as error:
        print(f"release: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except UnicodeDecodeError:
        print("release: a statement is not UTF-8 text", file=sys.stderr)
        return 1
    except FAILURES as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
