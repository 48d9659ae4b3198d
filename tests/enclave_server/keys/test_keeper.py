"""Tests of what happens to keys and evidence as time passes, by a clock that the tests set."""

import gc
from typing import Any

import pytest
from cryptography import x509

from enclave_server.config import EvidenceTable
from enclave_server.keys.attester import Attester, document_time
from enclave_server.keys.keeper import RENEWAL_SECONDS, RETRY_SECONDS, KeyKeeper
from enclave_server.keys.ring import MECHANISMS, KeySet, Schedule, advance, first_ring
from enclave_server.security_module.clock import ClockError
from enclave_server.security_module.nsm import Description, NsmError
from enclave_server.security_module.simulated import SimulatedSecurityModule
from oblivious_client.policy import MAX_AGE_SECONDS
from protocol.encapsulation import GatewayKey
from protocol.evidence import Platform, simulated_root, verify_evidence
from protocol.key_config import decode_key_configs
from protocol.signature import SigningKeys

DAY = Schedule(lifetime=24 * 3600, announce=3600, grace=600)
HOUR = 3600.0
SIGNING_KEYS = SigningKeys.generate()


class Module:
    """A simulated module by the test's clock, which counts its documents and can fail."""

    platform = Platform.SIMULATED

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.skew = 0.0
        self.documents = 0
        self.fails = False
        self._module = SimulatedSecurityModule(now=lambda: self.now + self.skew)

    def attest(
        self, user_data: bytes | None, public_key: bytes | None, nonce: bytes | None
    ) -> bytes:
        if self.fails:
            raise NsmError("InternalError", "told to fail")
        self.documents += 1
        return self._module.attest(user_data, public_key, nonce)

    def random(self, count: int) -> bytes:
        return self._module.random(count)

    def describe(self) -> Description:
        return self._module.describe()

    def describe_pcr(self, index: int) -> bytes:
        return self._module.describe_pcr(index)

    @property
    def root(self) -> x509.Certificate:
        return self._module.root


class Case:
    def __init__(self, schedule: Schedule = DAY, refresh: float = 1800) -> None:
        self.module = Module()
        attester = Attester(self.module, SIGNING_KEYS)
        self.keeper = KeyKeeper(
            schedule, attester, SIGNING_KEYS, refresh=refresh, now=self.module.now
        )

    def step(self, seconds: float = 0, *, settled: bool = True) -> bool:
        self.module.now += seconds
        return self.keeper.step(self.module.now, settled=settled)

    def check(self) -> KeySet:
        """Return the key set, after a client's check that its evidence binds what is served."""
        keys = self.keeper.keys
        verified = verify_evidence(
            keys.evidence, now=self.module.now, root=simulated_root(keys.evidence.document)
        )
        assert list(verified.key_configs) == decode_key_configs(keys.ohttp_keys)
        opening = [key.config for key in keys.gateway_keys]
        assert all(config in opening for config in verified.key_configs)
        return keys

    def listed(self) -> list[int]:
        return [config.key_id for config in decode_key_configs(self.check().ohttp_keys)]

    def opening(self) -> list[int]:
        return [key.key_id for key in self.check().gateway_keys]


def after(key_ids: list[int]) -> list[int]:
    """Return the identifiers of the generation that comes after the one of these."""
    return [(key_id + len(MECHANISMS)) % 256 for key_id in key_ids]


def test_evidence_is_there_from_the_start() -> None:
    case = Case()
    keys = case.check()
    assert keys.tee_id
    assert keys.expires <= case.module.now + 3 * HOUR


def test_evidence_is_remade_every_half_hour() -> None:
    case = Case()
    assert not case.step(1799)
    before = case.check().evidence
    assert case.step(1)
    assert case.check().evidence.document != before.document
    assert case.check().ohttp_keys == before.ohttp_keys
    assert case.module.documents == 2


def test_evidence_is_remade_before_its_certificate_ends() -> None:
    case = Case(refresh=30 * HOUR)
    end = case.check().expires
    assert not case.step(end - RENEWAL_SECONDS - case.module.now - 1)
    assert case.step(1)
    assert case.check().expires > end


def test_a_copy_that_may_be_kept_is_young_enough_for_clients() -> None:
    refresh = EvidenceTable().refresh_seconds
    case = Case(refresh=refresh)
    for _ in range(300):
        case.step(60)
        keys = case.check()
        made = document_time(keys.evidence.document)
        assert keys.expires - made <= MAX_AGE_SECONDS - 600
        assert keys.expires - case.module.now >= refresh / 2


def test_a_key_is_announced_when_all_workers_have_it() -> None:
    case = Case(refresh=30 * HOUR)
    old = case.listed()
    new = after(old)
    assert case.step(23 * HOUR - 1)  # the certificate
    assert case.step(1)
    assert (case.opening(), case.listed()) == (new + old, old)
    assert not case.step(1, settled=False)
    assert case.listed() == old
    assert case.step(0)
    assert (case.opening(), case.listed()) == (new + old, new + old)
    assert not case.step(1)


def test_a_ring_that_is_given_is_told_of_once_and_announced_when_all_workers_have_it() -> None:
    case = Case(refresh=30 * HOUR)
    old, ring = case.listed(), case.keeper.ring
    case.keeper.replace(ring)
    assert not case.step(1)  # it is the one that was there
    later = advance(ring, DAY, case.module.now + 23 * HOUR)
    for same in (later, later):
        case.keeper.replace(same)
    assert case.step(1)
    assert (case.opening(), case.listed()) == (after(old) + old, old)
    assert case.step(1)
    assert case.listed() == after(old) + old
    assert not case.step(1)


def test_the_old_key_retires_and_ends() -> None:
    case = Case()
    old = case.listed()
    new = after(old)
    case.step(23 * HOUR)
    case.step()
    case.step(HOUR - 1)
    assert case.listed() == new + old
    assert case.step(1, settled=False)
    assert (case.opening(), case.listed()) == (new + old, new)
    case.step(599)
    assert case.opening() == new + old
    assert case.step(1)
    assert (case.opening(), case.listed()) == (new, new)


def held(key_ids: list[int]) -> int:
    """Return how many keys of these identifiers the whole process holds."""
    gc.collect()
    keys = [item for item in gc.get_objects() if isinstance(item, GatewayKey)]
    return sum(key.key_id in key_ids for key in keys)


def test_a_key_that_ended_is_not_held_even_while_its_successor_has_no_evidence() -> None:
    case = Case()
    old = case.listed()
    elsewhere = held(old) - len(old)
    case.step(23 * HOUR - 10)
    case.module.fails = True
    case.step(10)
    assert held(old) == len(old) + elsewhere
    case.step(HOUR + 600)
    assert held(old) == elsewhere


def test_without_grace_a_key_ends_as_it_retires() -> None:
    case = Case(Schedule(lifetime=100, announce=10, grace=0))
    old = case.listed()
    case.step(90)
    case.step()
    assert case.step(10)
    assert case.opening() == case.listed() == after(old)


def test_after_a_long_stop_there_is_a_new_key_at_once() -> None:
    case = Case()
    old = case.listed()
    assert case.step(100 * HOUR, settled=False)
    assert case.opening() == case.listed() == after(old)


def test_a_module_that_fails_is_asked_again() -> None:
    case = Case()
    case.module.fails = True
    assert not case.step(1800)
    assert isinstance(case.keeper.failure, NsmError)
    case.check()
    case.module.fails = False
    assert not case.step(RETRY_SECONDS - 1)
    assert case.step(1)
    assert case.keeper.failure is None


def test_a_key_is_not_announced_without_evidence() -> None:
    case = Case()
    old = case.listed()
    case.step(23 * HOUR - 10)
    case.module.fails = True
    assert case.step(10)
    assert not case.step()
    assert case.listed() == old


def test_a_module_that_fails_at_the_start_is_an_error() -> None:
    module = Module()
    module.fails = True
    with pytest.raises(NsmError):
        KeyKeeper(DAY, Attester(module, SIGNING_KEYS), SIGNING_KEYS, refresh=1800, now=module.now)


def test_the_clock_is_compared_with_the_module_s() -> None:
    case = Case()
    case.module.skew = 120
    with pytest.raises(ClockError, match="120 seconds behind"):
        case.step(1800)


def test_a_worker_forgets_what_its_parent_keeps() -> None:
    case = Case()
    case.keeper.forget()
    assert case.keeper.keys.gateway_keys == ()


def test_a_certificate_that_is_about_to_end_is_not_asked_about_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case()
    monkeypatch.setattr(
        "enclave_server.keys.keeper.certificate_end", lambda _: case.module.now + 60
    )
    case.module.now += 1800
    assert case.keeper.step(case.module.now, settled=True)
    made = case.module.documents
    assert not case.step(RETRY_SECONDS - 0.5)
    assert case.module.documents == made
    assert case.step(0.5)
    assert case.module.documents == made + 1


def test_the_newest_key_of_a_ring_that_is_given_is_announced_unless_it_is_said_otherwise() -> None:
    module = Module()
    older = first_ring(DAY, module.now - DAY.lifetime + 60)
    ring = advance(older, DAY, module.now)
    newest = ring.generations[0].first.config

    def keeper(**more: Any) -> KeyKeeper:
        attester = Attester(module, SIGNING_KEYS)
        return KeyKeeper(
            DAY, attester, SIGNING_KEYS, refresh=1800, now=module.now, ring=ring, **more
        )

    assert decode_key_configs(keeper().keys.ohttp_keys)[0] == newest
    assert keeper().announced
    assert not keeper(announced=False).announced
    assert newest not in decode_key_configs(keeper(announced=False).keys.ohttp_keys)
