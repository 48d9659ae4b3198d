"""Answers kept with their evidence, so that they can be shown to a third party years later."""

from __future__ import annotations

import argparse
import base64
import json
import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oblivious_client.answers import Answer, check_signature
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.policy import Policy, decode
from oblivious_client.releases.source import accepted_of, pinned, read
from oblivious_client.releases.trust import Trust
from protocol import strict_json
from protocol.errors import ProtocolError, SignatureInvalid
from protocol.evidence import Evidence
from protocol.signature import SignedAnswer

FORMAT = "oblivious-inference-answer/1"
LARGEST_FILE = 64 << 20
"""In octets: a question of 20 MiB, the most that a gateway takes, is 27 MiB in base64."""
LONGEST_ANSWER_SECONDS = 900
"""From sealing a question to the signature over its answer: gateways wait ten minutes at most."""


@dataclass(frozen=True, slots=True)
class Archived:
    """The content of a file, none of it verified yet."""

    request: bytes
    body: Mapping[str, Any]
    evidence: Evidence
    releases: bytes | None = None


def check_writable(path: Path) -> None:
    """Raise UsageError if `save` would, so that it is known before the question is asked."""
    folder = path if path.exists() else path.parent
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {path}", advice="name a file in a folder that exists")


def _keep_private(handle: int) -> None:
    """Shut others out of a file that may have been there; Windows has other means, by folder."""
    change = getattr(os, "fchmod", None)
    if change is not None:
        change(handle, 0o600)


def save(path: Path, answer: Answer, releases: bytes | None = None) -> None:
    """Write question, answer and evidence; the file is readable by its owner alone.

    With the list of `releases` that was relied on, what would do then can be judged years later.
    """
    listed = {} if releases is None else {"releases": json.loads(releases)}
    text = json.dumps(
        {
            "format": FORMAT,
            "request": base64.b64encode(answer.request).decode(),
            "answer": answer.body,
            "evidence": json.loads(answer.evidence.evidence.encode()),
            **listed,
        },
        indent=2,
        ensure_ascii=False,
    )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                _keep_private(handle)
            file.write(text + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def check_command(chosen: argparse.Namespace, path: Path) -> str:
    """Return the command that checks a saved answer, demanding the same as was demanded now."""
    words = ["oblivious-client", "verify"]
    words += ["--allow-simulated"] if chosen.allow_simulated else []
    words += ["--pcrs", chosen.pcrs] if chosen.pcrs else []
    words += ["--trust", chosen.trust] if chosen.trust else []
    words += ["--root", str(chosen.root)] if chosen.root else []
    return shlex.join([*words, str(path)])


def load(path: Path) -> Archived:
    """Read a file that `save` wrote; raises UsageError."""
    try:
        stored = strict_json.decode_object(_read(path))
        if stored["format"] != FORMAT or not isinstance(stored["answer"], dict):
            raise ValueError("another format")
        request = base64.b64decode(stored["request"], validate=True)
        evidence = decode(json.dumps(stored["evidence"]).encode())
        releases = json.dumps(stored["releases"]).encode() if "releases" in stored else None
        return Archived(request, stored["answer"], evidence, releases)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ProtocolError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a saved answer", advice="save one with `chat --save FILE`"
        ) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError("too large")
    return data


def policy_then(archived: Archived, policy: Policy, trust: Trust) -> Policy:
    """Return a policy with what would do at the time of the answer, by the list beside it.

    Raises EvidenceRefused. The time is not proven yet; `verify` proves it, by this policy.
    """
    if archived.releases is None:
        return policy
    published = read(archived.releases, trust)
    return pinned(policy, accepted_of(published, _claimed_time(archived)))


def verify(archived: Archived, policy: Policy) -> Answer:
    """Return the answer, proven by the evidence beside it at the time of the answer.

    Raises EvidenceRefused or AnswerUnproven. The time is the one that is signed, so neither
    today's date nor the network matter.
    """
    claimed = _claimed_time(archived)
    # The document was young enough when the question was sealed, and the answer came later.
    patient = replace(policy, max_age=policy.max_age + LONGEST_ANSWER_SECONDS)
    # The signed time is cut to seconds and may lie up to one before the document's.
    evidence = patient.verify(archived.evidence, now=claimed + 1)
    signed = check_signature(evidence, archived.request, archived.body)
    return Answer(archived.request, archived.body, evidence, signed)


def _claimed_time(archived: Archived) -> int:
    try:
        return SignedAnswer.from_fields(archived.body).timestamp
    except SignatureInvalid as error:
        raise EvidenceRefused(
            "the answer carries no signature", code=Exit.ANSWER_SIGNATURE
        ) from error
