"""What `oblivious-client releases` does for users: fetch, list, show, pin, audit."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from oblivious_client import release_report, release_settings, release_signing, settings
from oblivious_client.client import ObliviousClient
from oblivious_client.errors import ClientError, EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.releases.published import Published
from oblivious_client.releases.source import FETCH_ADVICE, Releases
from oblivious_client.releases.statements import Release
from oblivious_client.terminal import note, print_json
from protocol.attestation import parse_pcrs

Chosen = argparse.Namespace

BUILD_COMMAND = (
    "git worktree add --detach DIR {commit} && "
    "DIR/scripts/build-eif --out DIR/oblivious-inference.eif"
)


def releases(chosen: Chosen) -> Exit:
    """Do what the first word after `releases` says."""
    return ACTIONS[chosen.action](chosen)


def _fetch(chosen: Chosen) -> Exit:
    """Fetch the list now, and print what is new."""
    _require_words(chosen, 0)
    now = time.time()
    memory = release_settings.memory(chosen)
    if chosen.forget:
        memory.forget(now)
    seen = memory.load()  # before a list that is given takes its place
    known = 0 if seen is None else seen.size
    found = _releases(chosen)
    if not found.is_given:
        route = settings.route(chosen, releases=found)
        with ObliviousClient(route) as client:
            client.transport.run(client.transport.source.fetch_releases())
    published = _published(found)
    if chosen.json:
        print_json(release_report.described_list(published, now=now))
    else:
        for entry in published.entries[known:]:
            print(f"new: {entry.statement if isinstance(entry.statement, Release) else 'a change'}")
        print(
            f"{published.checkpoint.size} entries, {published.checkpoint.size - known} of them new"
        )
    _warn_of_age(found, now)
    found.accepted(now)  # stale, or without a release that will do: said by its own code
    return Exit.OK


def _list(chosen: Chosen) -> Exit:
    """Print all releases, who signed them, and who is trusted to."""
    _require_words(chosen, 0)
    found, now = _releases(chosen), time.time()
    published = _published(found)
    if chosen.json:
        print_json(release_report.list_json(published, now=now))
    else:
        print(release_report.list_text(published, found.trust, now=now))
    _warn_of_age(found, now)
    found.accepted(now)
    return Exit.OK


def _show(chosen: Chosen) -> Exit:
    """Print the statements of a version as they are signed."""
    (version,) = _require_words(chosen, 1)
    published = _published(_releases(chosen))
    for release in _of_version(published, version):
        entry = next(each for each in published.entries if each.statement is release)
        sys.stdout.write(entry.note.encode())
    return Exit.OK


def _pin(chosen: Chosen) -> Exit:
    """Write the measurements of a version as `--pcrs` takes them."""
    (version,) = _require_words(chosen, 1)
    published = _published(_releases(chosen))
    signed = {id(entry.statement) for entry in published.entries if entry.is_signed}
    chosen_ones = [each for each in _of_version(published, version) if id(each) in signed]
    if not chosen_ones:
        raise EvidenceRefused(
            f"{version} is not signed by {published.trust.builders} builders",
            advice="pin another one, or look at it: oblivious-client releases show VERSION",
            code=Exit.RELEASES_REFUSED,
        )
    text = json.dumps([_measurements(each) for each in chosen_ones], indent=2)
    if chosen.out is None:
        print(text)
    else:
        release_signing.write(chosen.out, text + "\n")
        note(f"pinned: use it with --pcrs {chosen.out}; no list is asked any more")
    return Exit.OK


def _audit(chosen: Chosen) -> Exit:
    """Check every signature of the list, and say how to build a version and compare."""
    words = _require_words(chosen, 0, 1)
    published = _published(_releases(chosen))
    print("\n".join(release_report.audit_lines(published)))
    bad = [entry for entry in published.entries if not entry.is_signed]
    version = words[0] if words else _newest(published).version
    built = [_compare(chosen, release) for release in _of_version(published, version)[:1]]
    if bad or not all(built):
        raise EvidenceRefused(
            "the list does not hold: not every entry is signed by enough builders"
            if bad
            else f"the build of {version} has other measurements than its statement",
            advice="tell the builders, and pin by hand what you trust: --pcrs FILE",
            code=Exit.RELEASES_REFUSED,
        )
    return Exit.OK


ACTIONS: Mapping[str, Callable[[Chosen], Exit]] = {
    "fetch": _fetch,
    "list": _list,
    "show": _show,
    "pin": _pin,
    "audit": _audit,
    "key": release_signing.key,
    "sign": release_signing.sign,
    "witness": release_signing.witness,
    "mirror": release_signing.mirror,
}


def _warn_of_age(found: Releases, now: float) -> None:
    warning = found.warning(now)
    if warning:
        note(f"warning: {warning}")


def _releases(chosen: Chosen) -> Releases:
    return release_settings.required_releases(chosen)


def _published(found: Releases) -> Published:
    found.memory.require_no_conflict()
    current = found.current()
    if current is None:
        raise EvidenceRefused(
            "no list of releases has been fetched yet",
            advice=FETCH_ADVICE,
            code=Exit.RELEASES_STALE,
        )
    return current.published


def _require_words(chosen: Chosen, *counts: int) -> Sequence[str]:
    words: Sequence[str] = chosen.words
    if len(words) not in counts:
        wanted = "a VERSION" if counts[-1] else "no more words"
        raise UsageError(
            f"`releases {chosen.action}` takes {wanted}", advice="see `oblivious-client --help`"
        )
    return words


def _of_version(published: Published, version: str) -> list[Release]:
    """Return the images of a version; one that came back under a new number is meant by that."""
    found = [each for _, each in published.releases() if each.version == version]
    if not found:
        raise UsageError(
            f"the list has no release {version}", advice="see `oblivious-client releases list`"
        )
    return [each for each in found if each.sequence == found[-1].sequence]


def _newest(published: Published) -> Release:
    found = published.releases()
    if not found:
        raise UsageError("the list has no releases", advice=FETCH_ADVICE)
    return found[-1][1]


def _measurements(release: Release) -> dict[str, dict[str, str]]:
    registers = {f"PCR{index}": value.hex() for index, value in sorted(release.pcrs.items())}
    return {"Measurements": {"HashAlgorithm": "Sha384 { ... }", **registers}}


def _compare(chosen: Chosen, release: Release) -> bool:
    """Say how a release is built, or build it; tell whether it is what was stated."""
    if chosen.build is None:
        print(f"to build {release}: {BUILD_COMMAND.format(commit=release.commit)}")
        for index, value in sorted(release.pcrs.items()):
            print(f"and compare PCR{index} {value.hex()}")
        return True
    built = _built(chosen.build, release)
    same = all(built.get(index) == value for index, value in release.pcrs.items())
    print(f"built {release}: {'the same measurements' if same else 'OTHER measurements'}")
    return same


def _built(checkout: Path, release: Release) -> dict[int, bytes]:
    """Build the commit of a release in a worktree of a checkout; return its measurements."""
    with tempfile.TemporaryDirectory(prefix="oblivious-audit-") as folder:
        tree = Path(folder) / "tree"
        _run("git", "-C", str(checkout), "worktree", "add", "--detach", str(tree), release.commit)
        try:
            out = str(Path(folder) / "image.eif")
            printed = _run(str(tree / "scripts/build-eif"), "--out", out)
        finally:
            _run("git", "-C", str(checkout), "worktree", "remove", "--force", str(tree))
    try:
        return parse_pcrs(json.loads(printed))
    except ValueError as error:
        raise ClientError(f"the build printed no measurements: {error}") from error


def _run(*command: str) -> bytes:
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClientError(
            f"{command[0]} failed, so nothing could be compared: {error}",
            advice="--build wants a git checkout of this project that has the release's commit",
        ) from error
