"""What was verified, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oblivious_client.answers import text_of
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.policy import Policy
from protocol.evidence import Platform, VerifiedEvidence
from protocol.hpke import Aead, Kdf
from protocol.kem import find_kem
from protocol.key_config import KeyConfig
from protocol.signature import key_identifier

# Registers that name the code; the rest name the parent machine and its roles.
CODE_PCRS = (0, 1, 2)
# A copy of a few seconds was fetched for somebody who asked just before, or clocks differ by this.
FETCHED_SECONDS = 5
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
            if any(value) or index in pins or index in CODE_PCRS
        },
        "keys": [describe_key(config) for config in verified.key_configs],
        "tee_id": key_identifier(verified.signing_key),
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
        f"sealing to attested key {verified.key_configs[0].key_id}"
    )
    if verified.evidence.platform is Platform.SIMULATED:
        return f"{line}\n{SIMULATED_WARNING}"
    return line


def asked(request: Mapping[str, Any]) -> str:
    """Return a whole request for people: what stands before a question can decide its answer."""
    messages = request.get("messages")
    listed = messages if isinstance(messages, list) else []
    others = {name: value for name, value in request.items() if name not in ("messages", "stream")}
    lines = [_said("with", _json(others))]
    lines += [_said(_role(message), _content(message)) for message in listed[:-1]]
    lines += [_said("question", _content(message)) for message in listed[-1:]]
    return "\n".join(lines)


def answered(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the whole answer, each of its choices, for people."""
    return "\n".join(_said("answer", _choice(message)) for message in messages)


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
        f"key {described['key_id']}: {described['kem']} {described['public_key']}\n"
        f"  suites: {suites}"
    )


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
    yield "signing key", "the SHA-256 in the document matches; answers are signed with it"
    newest = describe_key(verified.key_configs[0])
    yield "seal to", f"key {newest['key_id']}, {newest['kem']}, {newest['suites'][0]}"
    yield "tee_id", key_identifier(verified.signing_key)


def _measurements(verified: VerifiedEvidence, policy: Policy) -> Iterator[tuple[str, str]]:
    pins = policy.pins_of(verified)
    for index, value in sorted(verified.attestation.pcrs.items()):
        if index in pins:
            yield f"PCR{index}", f"{value.hex()} as pinned"
        elif index in CODE_PCRS:
            yield f"PCR{index}", f"{value.hex()} NOT PINNED"


def _said(who: str, text: str) -> str:
    """Return what was said; no line of it can pass for one of ours."""
    lines = text.splitlines() or [""]
    return f"{f'{who}:':<9} " + f"\n{' ':<10}".join(lines)


def _role(message: object) -> str:
    return str(message.get("role")) if isinstance(message, dict) else "message"


def _content(message: object) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else _json(message)


def _choice(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    return text_of(message) + (_json(calls) if calls else "")


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
