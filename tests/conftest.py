"""What holds for all tests."""

import gc
import signal
import sys

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
