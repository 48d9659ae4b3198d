"""docs/conformance.md and documents like it: what they name exists, what they count is so."""

import ast
import functools
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from enclave_server.http.limits import Limits
from tests.enclave_server.http import test_request_reader_malformed as test_http1_malformed
from tests.protocol import (
    test_attestation_attacks,
    test_attestation_vectors,
    test_binary_http,
    test_blind_rsa,
    test_chunked,
    test_encapsulation,
    test_event_stream,
    test_hpke,
    test_kem_xwing,
    test_key_config,
    test_token_batch,
    test_token_challenge,
    test_token_fields,
    test_varint,
)
from tests.support import private_tokens
from tests.support.attestation_samples import real_documents

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("docs/attacks.md", "docs/conformance.md")
FOLDERS = (
    "protocol",
    "enclave_server",
    "host_proxy",
    "oblivious_client",
    "token_issuer",
    "scripts",
    "tests",
)
# A file, perhaps behind some of its folders, perhaps with a test in it.
NAMED = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|conf|json|lock))((?:::\w+)*)`")

Counts = tuple[int, int, int]


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


@functools.cache
def files() -> tuple[Path, ...]:
    return tuple(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*"))


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of all tests and test classes in a file, as pytest writes them."""
    return frozenset(_names(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def _names(nodes: Iterable[ast.stmt], prefix: str) -> Iterable[str]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = f"{prefix}::{node.name}"
            yield name
            yield from _names(node.body, name)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_exists(document: str) -> None:
    found = NAMED.findall(text_of(document))
    assert len(found) > 5
    for name, test in found:
        matching = [path for path in files() if f"/{path}".endswith(f"/{name}")]
        assert matching, name
        if test:
            assert any(test in names_in(path) for path in matching), f"{name}{test}"


def rows(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    below = text_of(document).partition(f"{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table is not None
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_attacks_is_the_list_of_attacks() -> None:
    listed = [tuple(row) for row in rows("docs/attacks.md", "## Evidence")]
    assert listed == [
        (name, f"{attack.step.value} {attack.step.name.lower()}", attack.reason.value)
        for name, attack in test_attestation_attacks.ATTACKS.items()
    ]


def counts_of(valid: Iterable[object], invalid: Iterable[object] = ()) -> Counts:
    good, bad = len(list(valid)), len(list(invalid))
    return good + bad, good, bad


def counted() -> dict[str, Counts]:
    """Return cases, accepted and refused for each row, from what the tests run."""
    derived = [case for case in test_encapsulation.CASES if case["kind"] == "derive-key-config"]
    documents = real_documents()
    integers = test_varint.VECTORS["varints"], test_varint.VECTORS["varint_errors"]
    http = test_http1_malformed
    accepted = sum(http.must_accept(case) for case in http.CASES)
    refused = sum(http.must_refuse(case) for case in http.CASES)
    return {
        "rfc9458-appendix-a.json": counts_of([test_encapsulation.RFC]),
        "chunked-ohttp-08.json": counts_of([test_chunked.DRAFT]),
        "hpke-rfc9180.json": counts_of(test_hpke.VECTORS),
        "xwing.json, the mechanism": counts_of(
            [*test_kem_xwing.KEM_VECTORS, *test_kem_xwing.HPKE_VECTORS]
        ),
        "xwing.json, in HPKE": counts_of(test_kem_xwing.WHOLE_VECTORS),
        "key-configs.json": counts_of(test_key_config.VALID, test_key_config.INVALID),
        "binary-http.json": counts_of(test_binary_http.VALID, test_binary_http.INVALID),
        "binary-http.json, integers": counts_of(*integers),
        "ohttp-implementations.json, unchunked": counts_of(
            test_encapsulation.VALID, test_encapsulation.INVALID
        ),
        "ohttp-implementations.json, chunked": counts_of(test_chunked.VALID, test_chunked.INVALID),
        "ohttp-implementations.json, derived keys": counts_of(derived),
        "nitro-attestation-documents.json": counts_of(
            test_attestation_vectors.GOOD,
            [document for document in documents if not document.valid],
        ),
        **counted_tokens(),
        "http1-malformed.json": (len(http.CASES), accepted, refused),
        "llm-sse-streams.json, recordings": counts_of(test_event_stream.VECTORS["samples"]),
        "llm-sse-streams.json, framing": counts_of(test_event_stream.VECTORS["framing_cases"]),
    }


def counted_tokens() -> dict[str, Counts]:
    """Return the rows of Privacy Pass, of which each file has several."""
    first, more = "privacy-pass-and-blind-rsa.json", "privacy-pass-more.json"
    added = [case for case in private_tokens.ISSUANCES if case["id"].startswith("type2-more")]
    published = [case for case in private_tokens.ISSUANCES if case not in added]
    batches = test_token_batch
    return {
        f"{first}, blind RSA": counts_of(test_blind_rsa.VECTORS),
        f"{first}, EMSA-PSS": counts_of([private_tokens.FIRST["emsa_pss"]]),
        f"{first}, issuance": counts_of(published),
        f"{more}, issuance": counts_of(added),
        f"{first}, challenges and what is signed": counts_of(test_token_challenge.INPUTS),
        f"{first}, WWW-Authenticate": counts_of(test_token_fields.HEADERS[:2]),
        f"{more}, WWW-Authenticate": counts_of(test_token_fields.HEADERS[2:]),
        f"{more}, batches": counts_of(
            batches.WHOLE, [*batches.MIXED, *private_tokens.OLDER_BATCHES]
        ),
    }


def test_the_counts_of_vectors_are_those_of_the_tests() -> None:
    listed = {name: tuple(map(int, counts)) for name, *counts, _ in vector_rows()}
    assert listed == counted()
    files_listed = {name.partition(",")[0] for name in listed}
    assert files_listed == {path.name for path in (ROOT / "tests/vectors").glob("*.json")}


def vector_rows() -> list[list[str]]:
    return rows("docs/conformance.md", "## Vectors")


def was_read(case: dict[str, str]) -> bool:
    limits = test_http1_malformed.LIMITS.get(case["id"], Limits())
    count, _ = test_http1_malformed.read_all([bytes.fromhex(case["raw_hex"])], limits)
    return count > 0


def test_the_counts_of_malformed_requests_are_so() -> None:
    listed = [
        tuple(map(int, row[1:])) for row in rows("docs/conformance.md", "### Malformed HTTP/1.1")
    ]
    cases = test_http1_malformed.CASES
    refuse = [case for case in cases if test_http1_malformed.must_refuse(case)]
    accept = [case for case in cases if case["expect"] == "accept"]
    free = [case for case in cases if case not in refuse and case not in accept]
    expected = []
    for group in (refuse, accept, free):
        read = sum(map(was_read, group))
        expected.append((len(group), read, len(group) - read))
    assert listed == expected
