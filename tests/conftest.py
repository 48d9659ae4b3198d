"""What holds for all tests."""

import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
from hypothesis import HealthCheck, settings

# A shell that starts the tests in the background has them ignore SIGINT, and whatever they start
# would inherit that: those that interrupt a program would wait for it in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("untimed")

# What collecting makes stays until the end: looking through it for garbage, then and in each later
# round of the collector, finds none.
gc.disable()


RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_collection_finish() -> None:
    """Have the collector look at what tests make, and at that alone."""
    # What payers by x402 import raises it so far that JSON nested too deep ends the process.
    sys.setrecursionlimit(RECURSION_LIMIT)
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have this process trust the first of certifi's authorities: each client would read them all.

    That takes 40 ms of CPU. Nobody whom tests reach has a certificate of any of them.
    """
    first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("authorities") / "cacert.pem"
    file.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(file))
        yield
