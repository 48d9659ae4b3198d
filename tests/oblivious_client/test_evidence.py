"""Evidence is verified before anything is sent, kept while it holds, never trusted from disk."""

import dataclasses
import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enclave_server.security_module.simulated import SimulatedSecurityModule, simulated_pcrs
from oblivious_client import archive
from oblivious_client.cache import Entry, EvidenceCache, default_directory
from oblivious_client.client import ObliviousClient
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.evidence import EvidenceSource
from oblivious_client.exits import Exit
from oblivious_client.policy import Policy, Simulated, decode, read_releases
from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence, Platform
from protocol.key_config import encode_key_configs
from protocol.signature import encode_pem
from tests.support.gateway import MODEL, Plain, StandInGateway, signing_keys

ALLOWED = Policy(simulated=Simulated.ALLOWED)
OTHER_PCRS = {0: bytes([1]) * 48}


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


def ask(
    gateway: StandInGateway, policy: Policy = ALLOWED, cache: EvidenceCache | None = None
) -> str:
    with ObliviousClient(gateway.url, policy=policy, cache=cache) as client:
        return client.chat("hello", model=MODEL).text


def refusal(gateway: StandInGateway, policy: Policy = ALLOWED) -> EvidenceRefused:
    with pytest.raises(EvidenceRefused) as caught:
        ask(gateway, policy)
    assert gateway.posts() == []  # not a byte of the question left
    assert caught.value.advice
    return caught.value


def swapped_keys(evidence: Evidence) -> Evidence:
    keys = encode_key_configs([GatewayKey.generate(1).config])
    return dataclasses.replace(evidence, ohttp_keys=keys)


def altered_signature(evidence: Evidence) -> Evidence:
    document = evidence.document[:-1] + bytes([evidence.document[-1] ^ 1])
    return dataclasses.replace(evidence, document=document)


def relabelled(evidence: Evidence) -> Evidence:
    return dataclasses.replace(evidence, platform=Platform.AWS_NITRO)


def without_document(evidence: Evidence) -> Evidence:
    return dataclasses.replace(evidence, document=b"no document")


def other_signing_key(evidence: Evidence) -> Evidence:
    pem = encode_pem(signing_keys("other").rsa.public_key())
    return dataclasses.replace(evidence, signing_key_pem=pem)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (swapped_keys, Exit.KEYS_UNBOUND),
        (other_signing_key, Exit.KEYS_UNBOUND),
        (altered_signature, Exit.CHAIN),
        (relabelled, Exit.CHAIN),
        (without_document, Exit.EVIDENCE_MALFORMED),
    ],
)
def test_altered_evidence_is_refused(
    gateway: StandInGateway, change: Callable[[Evidence], Evidence], code: Exit
) -> None:
    gateway.faults.evidence = change
    assert refusal(gateway).code is code


def test_garbage_for_evidence_is_refused(gateway: StandInGateway) -> None:
    for body in (b"", b"[]", b"{}", b'{"attestation": 1}', b"\xff"):
        gateway.faults.evidence_answers = [Plain(200, "application/json", body)]
        assert refusal(gateway).code is Exit.EVIDENCE_MALFORMED


def test_simulated_evidence_is_refused_unless_allowed(gateway: StandInGateway) -> None:
    assert refusal(gateway, Policy()).code is Exit.SIMULATED
    assert ask(gateway) == "The capital of France is Paris."


def test_pinned_measurements_decide(gateway: StandInGateway) -> None:
    pinned = dataclasses.replace(ALLOWED, pcrs={0: simulated_pcrs()[0]})
    assert refusal(gateway, dataclasses.replace(ALLOWED, pcrs=OTHER_PCRS)).code is Exit.PCRS
    assert ask(gateway, pinned)


def test_one_of_several_releases_has_to_match_whole(gateway: StandInGateway) -> None:
    ours = {index: simulated_pcrs()[index] for index in (0, 1)}
    half = {0: ours[0], 1: b"\xab" * 48}
    refused = dataclasses.replace(ALLOWED, pcrs=half, also=(OTHER_PCRS,))
    assert refusal(gateway, refused).code is Exit.PCRS
    for also in ((ours,), (OTHER_PCRS, ours), (ours, OTHER_PCRS)):
        policy = dataclasses.replace(ALLOWED, pcrs=OTHER_PCRS, also=also)
        assert ask(gateway, policy)
        assert policy.pins_of(policy.verify(gateway.evidence(), now=time.time())) == ours


def test_a_mismatch_is_named_with_both_values(gateway: StandInGateway) -> None:
    """The first that differs of each release, so that it shows what was built otherwise."""
    ours = simulated_pcrs()
    absent = {0: ours[0], 31: b"\xab" * 48}
    refused = refusal(gateway, dataclasses.replace(ALLOWED, pcrs=OTHER_PCRS, also=(absent,)))
    assert str(refused).endswith(
        f": PCR0 is {ours[0].hex()}, expected was {'01' * 48}; "
        f"PCR31 is absent, expected was {'ab' * 48}"
    )


def test_further_releases_do_not_hide_other_faults(gateway: StandInGateway) -> None:
    ours = {0: simulated_pcrs()[0]}
    gateway.module = SimulatedSecurityModule(now=lambda: time.time() - 3700)
    both = dataclasses.replace(ALLOWED, pcrs=ours, also=(OTHER_PCRS,))
    assert refusal(gateway, both).code is Exit.STALE
    assert both.fingerprint() != dataclasses.replace(both, also=()).fingerprint()


def test_debug_mode_is_refused(gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = {index: bytes(48) for index in range(16)}
    monkeypatch.setattr("enclave_server.security_module.simulated.simulated_pcrs", lambda: zeros)
    gateway.module = SimulatedSecurityModule()
    assert refusal(gateway).code is Exit.DEBUG_MODE


def test_old_evidence_is_refused(gateway: StandInGateway) -> None:
    gateway.module = SimulatedSecurityModule(now=lambda: time.time() - 3700)
    assert refusal(gateway).code is Exit.STALE
    gateway.module = SimulatedSecurityModule(now=lambda: time.time() - 4 * 3600)
    patient = dataclasses.replace(ALLOWED, max_age=1e6)
    assert refusal(gateway, patient).code is Exit.STALE  # its certificate has ended


def test_a_genuine_document_needs_pins(gateway: StandInGateway) -> None:
    verified = ALLOWED.inspect(gateway.evidence(), now=time.time())
    genuine = dataclasses.replace(verified, evidence=relabelled(verified.evidence))
    found = genuine.attestation.pcrs
    # None of which tells what the code is; PCR0 alone leaves the borders within the image open.
    for pinned in ((), (3,), (4,), (1,), (2,), (0,), (1, 2), (0, 1), (0, 2), (0, 3, 4)):
        policy = dataclasses.replace(ALLOWED, pcrs={index: found[index] for index in pinned})
        with pytest.raises(EvidenceRefused) as caught:
            policy.require_pins(genuine)
        assert caught.value.code is Exit.UNPINNED
    for named in ((0, 1, 2), (0, 1, 2, 3)):
        pcrs = {index: found[index] for index in named}
        dataclasses.replace(ALLOWED, pcrs=pcrs).require_pins(genuine)


def test_every_refusal_has_its_own_words(gateway: StandInGateway) -> None:
    messages = set()
    for change in (swapped_keys, altered_signature, without_document):
        gateway.faults.evidence = change
        messages.add(str(refusal(gateway)))
    assert len(messages) == 3


def test_the_second_question_costs_no_round_trip(gateway: StandInGateway, tmp_path: Path) -> None:
    cache = EvidenceCache(tmp_path / "cache")
    ask(gateway, cache=cache)
    assert [arrived.method for arrived in gateway.arrived] == ["GET", "POST"]
    ask(gateway, cache=cache)
    assert [arrived.method for arrived in gateway.arrived] == ["GET", "POST", "POST"]


def test_an_address_is_known_to_be_right_once_anything_of_it_has_verified(
    gateway: StandInGateway,
) -> None:
    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        source = client.transport.source
        before = source.has_verified
        client.transport.run(source.renewed())
        assert (before, source.has_verified) == (False, True)


def test_the_cache_is_readable_by_its_owner_alone(gateway: StandInGateway, tmp_path: Path) -> None:
    cache = EvidenceCache(tmp_path / "cache")
    ask(gateway, cache=cache)
    (file,) = cache.directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


def test_a_laxer_policy_lends_nothing_to_a_stricter_one(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    cache = EvidenceCache(tmp_path)
    ask(gateway, cache=cache)
    with pytest.raises(EvidenceRefused):
        ask(gateway, dataclasses.replace(ALLOWED, pcrs=OTHER_PCRS), cache=cache)
    with pytest.raises(EvidenceRefused):
        ask(gateway, Policy(), cache=cache)


def test_a_cache_that_cannot_be_written_keeps_no_rubbish(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    cache = EvidenceCache(tmp_path)
    ask(gateway, cache=cache)
    (file,) = tmp_path.iterdir()
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    assert ask(gateway, cache=cache)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"expires": "x", "evidence": 1}', b"\xff", b"[" * 200_000]
)
def test_a_damaged_cache_is_as_good_as_none(
    gateway: StandInGateway, tmp_path: Path, content: bytes
) -> None:
    cache = EvidenceCache(tmp_path)
    ask(gateway, cache=cache)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert ask(gateway, cache=cache)
    assert len([arrived for arrived in gateway.arrived if arrived.method == "GET"]) == 2


def test_evidence_from_disk_is_verified_again(gateway: StandInGateway, tmp_path: Path) -> None:
    cache = EvidenceCache(tmp_path)
    ask(gateway, cache=cache)
    (file,) = tmp_path.iterdir()
    stored = json.loads(file.read_bytes())
    swapped = swapped_keys(decode(stored["evidence"].encode()))
    file.write_text(json.dumps({**stored, "evidence": swapped.encode().decode()}))
    assert ask(gateway, cache=cache)
    assert len([arrived for arrived in gateway.arrived if arrived.method == "GET"]) == 2


def test_what_is_kept_ends_with_its_freshness(gateway: StandInGateway, tmp_path: Path) -> None:
    cache = EvidenceCache(tmp_path)
    gateway.faults.max_age = 0
    ask(gateway, cache=cache)
    assert list(tmp_path.iterdir()) == []
    with ObliviousClient(gateway.url, policy=ALLOWED, cache=cache) as client:
        source = client.transport.source
        gateway.faults.max_age = 10**9
        client.evidence()
        (file,) = tmp_path.iterdir()
        assert json.loads(file.read_bytes())["expires"] <= time.time() + ALLOWED.max_age
        source.clock = lambda: time.time() + ALLOWED.max_age + 1
        with pytest.raises(EvidenceRefused):  # fetched anew, and too old by this clock
            client.evidence()


def test_a_disk_that_cannot_be_written_is_no_error(gateway: StandInGateway, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = EvidenceCache(blocked / "below")
    assert ask(gateway, cache=cache)
    cache.forget(Endpoint.parse(Role.RELAY, gateway.url), ALLOWED)


def test_the_cache_directory_follows_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_directory() == Path("/somewhere/oblivious-inference")
    for relative in ("", "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert default_directory() == Path.home() / ".cache/oblivious-inference"


def test_measurements_as_nitro_cli_prints_them(tmp_path: Path) -> None:
    file = tmp_path / "pcrs.json"
    printed = {"HashAlgorithm": "Sha384 { ... }", "PCR0": "ab" * 48, "PCR1": "cd" * 48}
    file.write_text(json.dumps({"Measurements": printed}))
    assert read_releases(file) == ({0: b"\xab" * 48, 1: b"\xcd" * 48},)
    file.write_text(json.dumps([{"Measurements": printed}, {"PCR0": "ef" * 48}]))
    assert [sorted(pins) for pins in read_releases(file)] == [[0, 1], [0]]
    deep = "[" * 200_000
    for wrong in (
        "",
        "1",
        "[]",
        "[[]]",
        "{}",
        "[{}]",
        '{"PCR0": "ab"}',
        '{"Measurements": 1}',
        deep,
    ):
        file.write_text(wrong)
        with pytest.raises(UsageError):
            read_releases(file)
    with pytest.raises(UsageError):
        read_releases(tmp_path / "absent")


@pytest.mark.parametrize(
    "text", ["", "relay", "ftp://relay/", "https://", "https://u:p@relay/", "http://r/?q", "unix:"]
)
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(UsageError):
        Endpoint.parse(Role.RELAY, text)


def test_resources_of_relay_and_gateway() -> None:
    relay = Endpoint.parse(Role.RELAY, "https://relay.example/ask#x")
    assert str(relay.resource) == "https://relay.example/ask"
    assert str(relay.evidence()) == "https://relay.example/v1/attestation"
    gateway = Endpoint.parse(Role.GATEWAY, "http://localhost:1")
    assert str(gateway.resource) == "http://localhost:1/v1/ohttp"
    assert str(gateway.evidence(b"\x01" * 8)).endswith("/v1/attestation?nonce=0101010101010101")
    assert str(gateway.keys) == "http://localhost:1/.well-known/ohttp-gateway"
    assert [
        Endpoint.parse(Role.RELAY, text).is_protected
        for text in ("https://a/", "unix:/s", "http://[::1]/", "http://a/", "http://10.0.0.1/")
    ] == [True, True, True, False, False]


def test_an_answer_that_took_long_still_proves_itself(gateway: StandInGateway) -> None:
    gateway.module = SimulatedSecurityModule(now=lambda: time.time() - 3000)
    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        answer = client.chat("hello", model=MODEL)
    archived = archive.Archived(answer.request, answer.body, answer.evidence.evidence)
    # As if the document had been at its oldest when the question was sealed ten minutes earlier.
    sealed_then = dataclasses.replace(ALLOWED, max_age=3000 - 600)
    assert archive.verify(archived, sealed_then).text == answer.text
    with pytest.raises(EvidenceRefused) as caught:
        archive.verify(archived, dataclasses.replace(ALLOWED, max_age=2000))
    assert caught.value.code is Exit.STALE


def test_what_is_kept_on_disk_ends_at_its_second(gateway: StandInGateway, tmp_path: Path) -> None:
    cache = EvidenceCache(tmp_path)
    with ObliviousClient(gateway.url, policy=ALLOWED, cache=cache) as client:
        route = client.transport.route
        evidence = client.evidence().evidence
    now = time.time()
    for left, is_kept in ((0.0, False), (1.0, True)):
        cache.store(route.endpoint, ALLOWED, Entry(evidence.encode(), now + left))
        source = EvidenceSource(route, clock=lambda: now)
        assert not source.has_verified
        assert (source.kept() is not None) is is_kept
        assert source.has_verified is is_kept
