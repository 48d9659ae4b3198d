"""What takes tokens in each worker, and what all workers share for it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enclave_server.addresses import parse_address
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import NULLIFIER_KEY, Config
from enclave_server.log import Log
from enclave_server.payment.gate import Gate, NullifierKey
from enclave_server.payment.lifetimes import Lifetimes, epochs_of
from enclave_server.payment.memory_store import MemoryStore
from enclave_server.payment.nullifier import LABEL
from enclave_server.payment.redis_store import RedisStore
from enclave_server.payment.store import Store
from enclave_server.payment.tally import REPORT_SECONDS, Tally
from enclave_server.shared_table import SharedTable
from protocol.token_catalogue import Catalogue

ENDING_SECONDS = 14 * 86400
"""Before the last day on which tokens are sold: from then on it is told every hour."""


class NoEpoch(Exception):
    """No tokens are taken at this time; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Till:
    """The catalogue, and the memory of spent tokens where no store outside has it."""

    catalogue: Catalogue
    table: SharedTable | None


def make_till(config: Config, now: float, log: Log) -> Till | None:
    """Return what all workers share, None where nobody pays; raises NoEpoch."""
    catalogue = config.catalogue
    if catalogue is None:
        return None
    if not any(key.epoch.redeems(now, skew=0) for key in catalogue.keys):
        raise NoEpoch("no key of tokens.keys is for this time; add the keys of this epoch")
    if config.tokens.store == "redis":
        return Till(catalogue, None)
    log.event("tokens_in_memory", restart="revives-spent-tokens")
    return Till(catalogue, SharedTable("tokens", config.tokens.capacity))


def make_gate(till: Till, config: Config, provisioned: ProvisionedKeys, log: Log) -> Gate:
    """Return what takes tokens in one worker."""

    def tell(counts: Mapping[str, int]) -> None:
        log.event("tokens", **counts)

    return Gate(
        till.catalogue,
        _store(till, config),
        _nullifier_key(config, provisioned),
        Tally(tell),
        skew=config.tokens.skew_seconds,
    )


def report_hourly(tally: Tally) -> None:
    """Have the counts of tokens told every hour from now on."""
    loop = asyncio.get_running_loop()

    def report() -> None:
        tally.report()
        loop.call_later(REPORT_SECONDS, report)

    loop.call_later(REPORT_SECONDS, report)


def warn_of_end(till: Till | None, log: Log, clock: Callable[[], float] = time.time) -> None:
    """Tell that the last epoch ends soon, in which tokens are sold."""
    if till is None:
        return
    rest = max(key.epoch.issue_until for key in till.catalogue.keys) - clock()
    if rest < ENDING_SECONDS:
        log.event("tokens_ending", days=max(0, int(rest // 86400)))


def _store(till: Till, config: Config) -> Store:
    lifetimes = Lifetimes(config.lease_seconds, epochs_of(key.epoch for key in till.catalogue.keys))
    if till.table is not None:
        return MemoryStore(till.table, lifetimes)
    return RedisStore(parse_address(config.tokens.store_address or ""), lifetimes)


def _nullifier_key(config: Config, provisioned: ProvisionedKeys) -> NullifierKey:
    if not config.tokens.nullifier_key_provisioned:
        return lambda: LABEL
    source = provisioned.source(NULLIFIER_KEY)

    def key() -> bytes | None:
        text = source()
        return None if text is None else text.encode()

    return key
