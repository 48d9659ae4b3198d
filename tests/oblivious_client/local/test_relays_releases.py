"""Several relays that rely on one list of releases, whichever of them it came through."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oblivious_client.errors import ClientError, EvidenceRefused
from oblivious_client.exits import Exit
from oblivious_client.local.relays import Relays
from oblivious_client.releases.memory import ReleaseMemory
from oblivious_client.releases.source import Releases
from oblivious_client.transport import AsyncObliviousTransport
from tests.support.gateway import Plain, StandInGateway
from tests.support.local_endpoint import ALLOWED
from tests.support.released_gateway import RELEASES, begun, listed, running
from tests.support.releases import TRUST, Log, note

GONE = Plain(502, "text/html", b"")


def publish(gateway: StandInGateway, log: Log) -> None:
    gateway.files[RELEASES] = log.served(int(time.time()))


def fetched(gateway: StandInGateway) -> int:
    return sum(arrived.path == RELEASES for arrived in gateway.arrived)


def verifying(
    folder: Path, gateways: list[StandInGateway], *between: Callable[[], object]
) -> tuple[list[Exit | str], Releases]:
    """Verify through relays once, and once more after each step; return what came of it."""
    releases = Releases(TRUST, ReleaseMemory(folder), now=time.time())

    async def run() -> list[Exit | str]:
        transports = [
            AsyncObliviousTransport(each.url, policy=ALLOWED, releases=releases)
            for each in gateways
        ]
        relays = Relays(transports, lambda text: None)
        found: list[Exit | str] = []
        try:
            for step in (lambda: None, *between):
                step()
                try:
                    verified = await relays.evidence()
                    accepted = releases.release_of(verified, time.time())
                    found.append(accepted.release.version if accepted else "none")
                except ClientError as failure:
                    found.append(failure.code)
                relays.current.source.forget()
        finally:
            await relays.aclose()
        return found

    return asyncio.run(run()), releases


def test_the_list_is_fetched_once_for_all(tmp_path: Path) -> None:
    with StandInGateway() as first, StandInGateway() as second:
        for each in (first, second):
            publish(each, listed(running(1)))

        def silence() -> None:
            first.faults.evidence_answers = [GONE]

        assert verifying(tmp_path, [first, second], silence)[0] == ["1.1.0", "1.1.0"]
        assert (fetched(first), fetched(second)) == (1, 0)
        assert [each.path for each in second.arrived] == ["/v1/attestation"]


def test_what_one_relay_takes_back_no_other_brings_again(tmp_path: Path) -> None:
    """The second runs what the first's list has put below the floor, and serves an older list."""
    log = listed(running(1))
    with StandInGateway() as first, StandInGateway() as second:
        publish(second, log)
        publish(first, log.add(note(begun(2, floor=2))))

        def silence() -> None:
            first.faults.evidence_answers = [GONE]

        found, releases = verifying(tmp_path, [first, second], silence)
        assert found == [Exit.PCRS, Exit.PCRS]
        current = releases.current()
        assert current is not None
        assert current.published.checkpoint.size == 2


def test_two_relays_with_two_pasts_are_an_alarm_for_both(tmp_path: Path) -> None:
    with StandInGateway() as first, StandInGateway() as second:
        publish(first, listed(running(1)))
        publish(second, listed(running(1, commit="f" * 40)))
        assert verifying(tmp_path, [first])[0] == ["1.1.0"]
        releases = Releases(TRUST, ReleaseMemory(tmp_path), now=time.time())
        with pytest.raises(EvidenceRefused) as caught:
            releases.take(second.files[RELEASES], now=time.time())
        assert caught.value.code is Exit.RELEASES_CONFLICT
        assert verifying(tmp_path, [first])[0] == [Exit.RELEASES_CONFLICT]
        assert verifying(tmp_path, [second])[0] == [Exit.RELEASES_CONFLICT]
