"""What the options about releases and mirrors come to: whose word is taken, and from where."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from oblivious_client import configuration, layers
from oblivious_client.cache import default_directory
from oblivious_client.errors import UsageError
from oblivious_client.releases.keys_seen import Mirrors
from oblivious_client.releases.memory import ReleaseMemory, memory_for
from oblivious_client.releases.published import MAX_LIST_BYTES
from oblivious_client.releases.source import Releases
from oblivious_client.releases.trust import MAX_LISTS, Quorum, Trust
from oblivious_client.releases.trust_file import NOBODY, packaged_trust, read_trust


def trust(options: argparse.Namespace) -> Trust | None:
    """Return whose releases will do, None if neither the user nor this build names anybody."""
    named = layers.single(options, "trust").text
    return read_trust(Path(named)) if named else packaged_trust()


def releases(options: argparse.Namespace) -> Releases | None:
    """Return what is relied on in place of pins; pins win, and so does a trial without trust."""
    pins, trusted = layers.demanded(options)
    if pins.value:
        return None
    named = trusted.value or options.releases
    if options.allow_simulated and not named:
        return None  # a simulated enclave is no release of anybody's
    return required_releases(options) if named or trust(options) is not None else None


def required_trust(options: argparse.Namespace) -> Trust:
    """Return whose releases will do; raises UsageError if nobody's."""
    found = trust(options)
    if found is None:
        raise UsageError(NOBODY, advice="use --trust FILE, or pin measurements with --pcrs FILE")
    return found


def required_releases(options: argparse.Namespace) -> Releases:
    """Return what is relied on of releases; raises UsageError if nobody is trusted."""
    found = required_trust(options)
    given = read_list(options.releases) if options.releases else None
    return Releases(found, memory(options), given=given, now=time.time())


def memory(options: argparse.Namespace) -> ReleaseMemory:
    """Return what was seen before of the list that is trusted; raises UsageError if nobody is."""
    return memory_for(required_trust(options), default_directory())


def read_list(path: Path) -> bytes:
    """Return the content of a list's file, of which nothing is verified; raises UsageError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_LIST_BYTES + 1)  # one more, so that it is seen to be too large
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def mirrors(options: argparse.Namespace) -> Mirrors | None:
    """Return the mirrors that have to vouch for keys, None if none is named; raises UsageError."""
    said = layers.mirrored(options)
    if said["mirror"].value is None:
        if options.mirrors or options.mirror_down:
            raise UsageError("it says what is wanted of mirrors and names none: add --mirror KEY")
        return None
    named = tuple(dict.fromkeys(map(configuration.note_key, said["mirror"].value)))
    threshold = int(said["mirrors"].text or len(named))
    if any(not key.kind.is_timed for key in named):
        raise UsageError("--mirror takes the key of a mirror, whose signatures carry a time")
    if len({key.public_key for key in named}) != len(named):
        raise UsageError("--mirror names one key twice, which would be counted twice")
    if threshold > len(named):
        raise UsageError("--mirrors asks for more mirrors than --mirror names")
    trusted = trust(options)
    return Mirrors(
        Quorum(threshold, named),
        said["mirror_of"].text,
        MAX_LISTS if trusted is None else trusted.max_lists,
        is_required=said["mirror_down"].text != "warn",
    )
