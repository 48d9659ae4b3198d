"""Signals that end the endpoint, with a mask and without one."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from oblivious_client.local.signals import when_told_to_end


@pytest.fixture
def kept() -> Iterator[None]:
    """Put the handlers back, and let through what was held."""
    ending = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in ending]
    yield
    for number in ending:
        signal.signal(number, signal.SIG_IGN)  # what waits is forgotten
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    for number, handler in zip(ending, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("has_masks", [True, False])
def test_the_first_is_told_and_those_that_follow_change_nothing(
    number: signal.Signals, has_masks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[None] = []

    async def run() -> None:
        when_told_to_end(lambda: told.append(None))
        with monkeypatch.context() as patched:
            if not has_masks:
                patched.delattr(signal, "pthread_sigmask")
            signal.raise_signal(number)
            signal.raise_signal(number)
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert told == [None]
