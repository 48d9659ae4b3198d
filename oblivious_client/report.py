"""What was verified, for people and for programs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oblivious_client.answers import STATE_MEMBER, text_of
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.policy import CODE_PINS, Policy
from protocol.answer_transcript import SIGNED_BESIDE, SIGNED_OF_CHOICE, SIGNED_OF_MESSAGE
from protocol.evidence import Platform, VerifiedEvidence
from protocol.hpke import Aead, Kdf
from protocol.kem import find_kem
from protocol.key_config import KeyConfig
from protocol.signature import algorithm_of, key_identifier
from protocol.token_catalogue import Catalogue, catalogue_hash

# A copy of a few seconds was fetched for somebody who asked just before, or clocks differ by this.
FETCHED_SECONDS = 5
# What `protocol.signature` signs of a message; a chat has `content`, a completion `text`.
_SIGNED = {1: ("content", "text", "tool_calls"), 2: SIGNED_OF_MESSAGE}
# Of an answer, what is not shown beside its messages: they, and the choices that hold them.
_APART = ("choices", "message", "text")
# What is shown under a label of its own anyway.
_SHOWN = ("content", "text", "tool_calls")
_INDENT = 10
_LEAST_ROOM = 20
_LONGEST_KEY = 64  # bytes of a public key that are shown
SIMULATED_WARNING = "SIMULATED: no hardware vouches for this enclave; for trials only"


def as_json(
    verified: VerifiedEvidence,
    policy: Policy,
    endpoint: Endpoint | None,
    *,
    now: float,
    kept: int | None = None,
) -> dict[str, Any]:
    """Return the report for programs; times are in Unix seconds."""
    attestation = verified.attestation
    pins = policy.pins_of(verified)
    return {
        "verified": True,
        "address": None if endpoint is None else str(endpoint),
        "platform": verified.evidence.platform.value,
        "is_simulated": verified.evidence.platform is Platform.SIMULATED,
        "module_id": attestation.module_id,
        "timestamp": attestation.timestamp / 1000,
        "age_seconds": round(now - attestation.timestamp / 1000, 3),
        "max_age_seconds": policy.max_age,
        "copy_seconds": kept,
        "nonce": None if attestation.nonce is None else attestation.nonce.hex(),
        "certificates": len(attestation.cabundle) + 1,
        "pcrs": {
            f"PCR{index}": {"value": value.hex(), "pinned": index in pins}
            for index, value in sorted(attestation.pcrs.items())
            if any(value) or index in pins or index in CODE_PINS
        },
        "keys": [describe_key(config) for config in verified.key_configs],
        "seal_to": verified.sealing_config.key_id,
        "tee_id": key_identifier(verified.signing_key),
        "tee_ids": dict(_identifiers(verified)),
        "tokens": _tokens(verified),
    }


def as_text(
    verified: VerifiedEvidence,
    policy: Policy,
    endpoint: Endpoint | None,
    *,
    now: float,
    nonce: bytes | None = None,
    kept: int | None = None,
) -> str:
    """Return the report for people, one fact a line.

    `nonce` is the one that was verified, `kept` for how many seconds a relay had kept its copy.
    """
    facts = _facts(verified, policy, endpoint, now, nonce, kept)
    return "\n".join(f"{name:<13} {fact}" for name, fact in facts)


def as_line(verified: VerifiedEvidence, policy: Policy, *, now: float) -> str:
    """Return the report in one line, for before an answer."""
    age = now - verified.attestation.timestamp / 1000
    pins = policy.pins_of(verified)
    code = f"{len(pins)} pinned measurements match" if pins else "not pinned"
    line = (
        f"verified: {verified.evidence.platform.value} document, {_ago(age)}; code: {code}; "
        f"sealing to attested key {verified.sealing_config.key_id}"
    )
    if verified.evidence.platform is Platform.SIMULATED:
        return f"{line}\n{SIMULATED_WARNING}"
    return line


def asked(request: Mapping[str, Any], width: int | None = None) -> str:
    """Return a whole request for people: what stands before a question can decide its answer.

    Lines are broken after `width` columns, as a terminal would break them at its border.
    """
    messages = request.get("messages")
    listed = messages if isinstance(messages, list) else []
    others = {name: value for name, value in request.items() if value is not listed}
    said = [("with", _json(others))]
    for position, message in enumerate(listed, start=1):
        said += _message(_speaker(message, is_last=position == len(listed)), message)
    return _rendered(said, width)


def answered(
    messages: Sequence[Mapping[str, Any]], width: int | None = None, *, version: int = 1
) -> str:
    """Return the whole answer, each of its choices, for people; what is not signed says so.

    `version` is that of the signature.
    """
    said = [line for message in messages for line in _choice(message, _SIGNED[version])]
    return _rendered(said, width)


def beside(body: Mapping[str, Any], width: int | None = None, *, version: int = 1) -> str:
    """Return what an answer says besides its messages, what is signed of it first."""
    unsigned = [("beside, unsigned", _json(_beside(body, version, is_signed=False)))]
    if version == 1:  # signs none of it
        return _rendered(unsigned, width)
    signed = [("beside, signed", _json(_beside(body, version, is_signed=True)))]
    return _rendered(signed + unsigned, width)


def _beside(body: Mapping[str, Any], version: int, *, is_signed: bool) -> dict[str, Any]:
    """Return the part of it that is signed, or the rest."""
    of_body, of_choice = ((), ()) if version == 1 else (SIGNED_BESIDE, SIGNED_OF_CHOICE)

    def chosen(members: Mapping[str, Any], signed: Sequence[str]) -> dict[str, Any]:
        return {
            name: value
            for name, value in members.items()
            if name not in _APART and (name in signed) == is_signed
        }

    ends = [chosen(choice, of_choice) for choice in body["choices"]]
    return {**chosen(body, of_body), "choices": ends}


def verdict(verified: VerifiedEvidence) -> str:
    """Return the last line of a report."""
    if verified.evidence.platform is Platform.SIMULATED:
        return "every check holds, but a simulated enclave proves nothing"
    return "every check holds"


def describe_key(config: KeyConfig) -> dict[str, Any]:
    """Return a key configuration with the names of its algorithms."""
    return {
        "key_id": config.key_id,
        "kem": _kem_name(config.kem_id),
        "public_key": config.public_key.hex(),
        "suites": [
            f"{_name(Kdf, kdf_id)}, {_name(Aead, aead_id)}"
            for kdf_id, aead_id in config.symmetric_algorithms
        ],
    }


def key_lines(config: KeyConfig) -> str:
    """Return a key configuration for people."""
    described = describe_key(config)
    suites = "; ".join(described["suites"])
    return (
        f"key {described['key_id']}: {described['kem']} {_abridged(config.public_key)}\n"
        f"  suites: {suites}"
    )


def _abridged(public_key: bytes) -> str:
    """Return a public key, or of one that fills a screen what can be compared."""
    if len(public_key) <= _LONGEST_KEY:
        return public_key.hex()
    return f"SHA-256 {hashlib.sha256(public_key).hexdigest()}, {len(public_key)} bytes"


def moment(seconds: int) -> str:
    """Return a time for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _facts(
    verified: VerifiedEvidence,
    policy: Policy,
    endpoint: Endpoint | None,
    now: float,
    nonce: bytes | None,
    kept: int | None,
) -> Iterator[tuple[str, str]]:
    attestation = verified.attestation
    simulated = verified.evidence.platform is Platform.SIMULATED
    if endpoint is not None:
        yield "address", str(endpoint)
        if endpoint.role is Role.RELAY:
            yield "copy", _copy(kept)
    yield "platform", verified.evidence.platform.value
    if simulated:
        yield "", SIMULATED_WARNING
    yield "module", attestation.module_id
    yield "signature", "ES384, holds"
    genuine = "the AWS Nitro Enclaves root G1" if policy.root is None else "the root of --root"
    root = "its own throw-away root" if simulated else genuine
    yield "chain", f"{len(attestation.cabundle) + 1} certificates lead to {root}"
    age = now - attestation.timestamp / 1000
    made = moment(attestation.timestamp // 1000)
    yield "made", f"{made}, {_ago(age)} (at most {policy.max_age:.0f} s)"
    yield "nonce", _whose(attestation.nonce, nonce)
    yield from _measurements(verified, policy)
    yield "keys", "the SHA-256 in the document matches the key configurations"
    for algorithm, _ in _identifiers(verified):
        yield "signing key", f"{algorithm}: the SHA-256 in the document matches"
    newest = describe_key(verified.sealing_config)
    yield "seal to", f"key {newest['key_id']}, {newest['kem']}, {newest['suites'][0]}"
    for algorithm, identifier in _identifiers(verified):
        yield "tee_id", f"{identifier} ({algorithm})"
    if (catalogue := verified.catalogue) is not None:
        tokens = _tokens(verified) or {}
        yield "tokens", f"catalogue {tokens['catalogue']}: the SHA-256 in the document matches"
        yield "", f"of {catalogue.issuer}, {', '.join(tokens['prices'])}, in {_epochs(catalogue)}"


def _tokens(verified: VerifiedEvidence) -> dict[str, Any] | None:
    """Return what is attested of payment; None where nobody pays."""
    evidence, catalogue = verified.evidence, verified.catalogue
    if catalogue is None or evidence.token_catalogue is None:
        return None
    return {
        "catalogue": catalogue_hash(evidence.token_catalogue).hex(),
        "issuer": catalogue.issuer,
        "issuer_url": catalogue.issuer_url,
        "origin": catalogue.origin,
        "prices": [str(price) for price in sorted({key.price for key in catalogue.keys})],
        "models": {name: tariff.encode() for name, tariff in catalogue.models.items()},
    }


def _epochs(catalogue: Catalogue) -> str:
    count = len({key.epoch for key in catalogue.keys})
    return f"{count} epochs" if count > 1 else "1 epoch"


def _identifiers(verified: VerifiedEvidence) -> Iterator[tuple[str, str]]:
    """Yield the name of each algorithm that signs answers, and its key's `tee_id`."""
    for key in verified.signing_keys:
        yield algorithm_of(key).value, key_identifier(key)


def _measurements(verified: VerifiedEvidence, policy: Policy) -> Iterator[tuple[str, str]]:
    pins = policy.pins_of(verified)
    for index, value in sorted(verified.attestation.pcrs.items()):
        if index in pins:
            yield f"PCR{index}", f"{value.hex()} as pinned"
        elif index in CODE_PINS:
            yield f"PCR{index}", f"{value.hex()} NOT PINNED"


def _rendered(said: Sequence[tuple[str, str]], width: int | None) -> str:
    return "\n".join(_said(who, text, width) for who, text in said)


def _said(who: str, text: str, width: int | None) -> str:
    """Return what was said; no line of it can pass for one of ours, which begin with a label."""
    label = f"{f'{who}:':<9} "
    room = None if width is None else max(width - max(len(label), _INDENT), _LEAST_ROOM)
    lines = [part for line in text.splitlines() or [""] for part in _broken(line, room)]
    return label + f"\n{' ':<{_INDENT}}".join(lines)


def _broken(line: str, room: int | None) -> list[str]:
    """Cut a line, so that a terminal begins none of its own with what a model wrote."""
    if room is None:
        return [line]
    parts, start, taken = [], 0, 0
    for position, character in enumerate(line):
        # Beyond ASCII a character may be two columns wide, and a tab is eight.
        columns = 8 if character == "\t" else 1 if character.isascii() else 2
        if taken + columns > room:
            parts.append(line[start:position])
            start, taken = position, 0
        taken += columns
    return [*parts, line[start:]]


def _speaker(message: object, *, is_last: bool) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    if role == "user" and is_last:
        return "question"
    return role if isinstance(role, str) and _is_word(role) else "message"


def _message(who: str, message: object) -> Iterator[tuple[str, str]]:
    """Yield each member under its own label, so that no text can be shown as another member."""
    if not isinstance(message, dict) or not message.keys() - {"role"}:
        yield who, _json(message)
        return
    for name, value in message.items():
        if name == "content":
            yield from _content(who, value)
        elif name != "role" or who not in (value, "question"):
            yield _label(who, name), _shown(value)


def _content(who: str, content: object) -> Iterator[tuple[str, str]]:
    if not isinstance(content, list):
        yield who, "" if content is None else _shown(content)
        return
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and _is_word(kind) and part.keys() == {"type", kind}:
            yield _label(who, kind), _shown(part[kind])
        else:
            yield f"{who} other part", _json(part)


def _choice(message: Mapping[str, Any], signed: Sequence[str]) -> Iterator[tuple[str, str]]:
    text, calls = text_of(message), message.get("tool_calls")
    if text or not calls:
        yield "answer", text
    if calls:
        signed_calls, states = _apart_from_states(calls)
        yield "answer tool_calls", _json(signed_calls)
        if states:
            yield f"answer tool_calls {STATE_MEMBER}, unsigned", _json(states)
    for name, value in message.items():
        if name in _SHOWN or value is None or (name, value) == ("role", "assistant"):
            continue
        label = _label("answer", name)
        yield label if name in signed else f"{label}, unsigned", _shown(value)


def _apart_from_states(calls: Any) -> tuple[Any, list[Any]]:
    """Return calls without their states, and the states, which nobody signs."""
    states = [call[STATE_MEMBER] for call in calls if STATE_MEMBER in call]
    if not states:
        return calls, []
    return [{n: v for n, v in call.items() if n != STATE_MEMBER} for call in calls], states


def _label(who: str, name: str) -> str:
    return f"{who} {name if _is_word(name) else json.dumps(name)}"


def _is_word(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9_]{1,40}", text) is not None


def _shown(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _whose(found: bytes | None, ours: bytes | None) -> str:
    if ours is not None:
        return "ours: made for this request"
    return "another's: made for somebody else" if found else "none: one for everybody"


def _copy(kept: int | None) -> str:
    if kept is None:
        return "the relay does not say for how long it has kept this"
    if kept <= FETCHED_SECONDS:
        return "fetched from the gateway now"
    return f"the relay's, kept for {kept} s: whether the gateway answers now it does not show"


def _ago(seconds: float) -> str:
    return f"{max(0, round(seconds))} s old"


def _kem_name(code: int) -> str:
    kem = find_kem(code)
    return f"{code:#06x}" if kem is None else kem.name


def _name(kind: type[Kdf] | type[Aead], code: int) -> str:
    try:
        return kind(code).name.replace("_", "-")
    except ValueError:
        return f"{code:#06x}"
