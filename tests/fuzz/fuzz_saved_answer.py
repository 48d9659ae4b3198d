"""`verify FILE`: any file is an error of ours; all that a signed answer holds can be shown.

An even first octet: the rest is a file. An odd one: two octets are the size of a request, which
follows, and then comes an answer, which is signed here.
"""

import json
import os
import re
from typing import Any

from oblivious_client import archive, report
from oblivious_client.answers import choices_of, outputs_of, parse_object
from oblivious_client.errors import ClientError
from oblivious_client.policy import Policy, Simulated
from protocol.errors import SignatureInvalid
from protocol.signature import sign_choices, verify_choices
from tests.fuzz.faults import fails, returns, slips
from tests.fuzz.fuzz_evidence import seeds as bundles
from tests.fuzz.reading import Attempt, MemoryFile, Octets, Refused
from tests.oblivious_client.test_report import ODD
from tests.support.attestation_samples import signing_keys

MAX_BYTES = 16384
KEYS = signing_keys("fuzz")
ALLOWED = Policy(simulated=Simulated.ALLOWED)
FILE = MemoryFile()
LABEL = re.compile(r"[a-z]")
attempt = Attempt(ClientError)
attempt_signature = Attempt(SignatureInvalid, ClientError)

FAULTS = (
    slips("oblivious_client.archive.strict_json.decode_object"),
    fails("oblivious_client.report._label"),
    returns("oblivious_client.report._said", lambda text: text.replace("\n ", "\n")),
)


def seeds() -> list[bytes]:
    """Return saved answers, odd files, and answers to sign."""
    choice = {"index": 0, "message": {"content": "a\nanswer: b", "refusal": "x", "tool_calls": []}}
    odd: list[dict[str, Any]] = [
        {"model": "m", "choices": [choice, {"index": 1, "text": "\r\u2028b", "finish_reason": 1}]},
        {"model": None, "choices": [{"index": 0, "message": {"a b": [None], "role": "tool"}}]},
        {"choices": [{"index": 2, "content": "c"}, {"index": "0"}], "usage": {}},
        {"choices": {}},
    ]
    request = json.dumps(ODD).encode()
    answers = [
        b"\1" + len(request).to_bytes(2, "big") + request + json.dumps(each).encode()
        for each in odd
    ]
    nested = b'{"model":"m","choices":[],"x":' + b"[" * 125 + b"]" * 125 + b"}"
    return [*map(_saved, bundles()), b"\0{}", b"\0[]", *answers, b"\1\0\2{}" + nested]


def _saved(bundle: bytes) -> bytes:
    body = {"model": "m", "choices": [{"index": 0, "message": {"content": "a"}}]}
    signed = body | sign_choices(KEYS.ed25519, b"{}", choices_of(body), model="m", timestamp=1)
    stored = {"format": archive.FORMAT, "request": "e30=", "answer": signed}
    return b"\0" + json.dumps({**stored, "evidence": json.loads(bundle)}).encode()


def run(data: bytes) -> None:
    """Verify a file, or sign an answer and show all of it."""
    octets = Octets(data)
    if octets.number() % 2 == 0:
        loaded = attempt(archive.load, FILE.holding(octets.rest()))
        if not isinstance(loaded, Refused):
            attempt(archive.verify, loaded, ALLOWED)
        return
    request, body = octets.take(octets.number(2)), attempt(parse_object, octets.rest())
    if not isinstance(body, Refused):
        _show(request, body)


def _show(request: bytes, body: dict[str, Any]) -> None:
    model: Any = body.get("model")
    choices = attempt(choices_of, body)
    if isinstance(choices, Refused):
        return
    fields = attempt_signature(
        sign_choices, KEYS.ed25519, request, choices, model=model, timestamp=1
    )
    if isinstance(fields, Refused):
        return
    signed = {**body, **fields}
    verify_choices(KEYS.public_keys, request, choices_of(signed), signed)
    asked = attempt(parse_object, request)
    for version in (1, 2):
        shown = [
            report.answered(outputs_of(signed), 40, version=version),
            report.beside(signed, None, version=version),
            "" if isinstance(asked, Refused) else report.asked(asked, 80),
        ]
        for line in "\n".join(shown).split(os.linesep):
            assert line.startswith(" " * 10) or not line or LABEL.match(line), line
