"""Lists of releases as a publisher makes them: entries put at the end, witnesses' lines joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from oblivious_client.releases.published import (
    Unverified,
    cosigned,
    statements_of,
    unsigned,
)
from oblivious_client.releases.refusals import ListRefused
from oblivious_client.releases.trust import Trust
from protocol.note_key import NoteSigner
from protocol.signed_note import Note
from scripts.publishing.stating import PublishingError


def extended(before: Unverified | None, more: Sequence[Note], trust: Trust) -> Unverified:
    """Return a list with more entries, each signed by enough builders; nobody has signed it yet.

    What a list said before is not touched: only entries at its end are new.
    """
    entries = () if before is None else before.entries
    found = unsigned((*entries, *more), trust)
    try:
        known = statements_of(found, trust)
    except ListRefused as refusal:
        raise PublishingError(str(refusal)) from refusal
    for entry, note in zip(known[len(entries) :], more, strict=True):
        if not entry.is_signed:
            text = note.text.partition("\n")[2].strip()
            raise PublishingError(
                f"{len(entry.signers)} builders have signed {text}, and it takes "
                f"{entry.trust.builders}"
            )
    return found


def logged(notes: Unverified, signer: NoteSigner) -> Unverified:
    """Return a list with the log's signature below its checkpoint."""
    return cosigned(notes, signer)


def joined(lists: Sequence[Unverified]) -> Unverified:
    """Return one list with the lines of all, which are of the same entries and checkpoint."""
    first, *others = lists
    checkpoint = first.checkpoint
    for each in others:
        texts = [note.text for note in each.entries]
        if each.checkpoint.text != checkpoint.text or texts != [n.text for n in first.entries]:
            raise PublishingError("the lists differ in more than the signatures of witnesses")
        checkpoint = checkpoint.signed(each.checkpoint.signatures)
    entries = tuple(
        note.signed(line for each in others for line in each.entries[at].signatures)
        for at, note in enumerate(first.entries)
    )
    return replace(first, checkpoint=checkpoint, entries=entries)
