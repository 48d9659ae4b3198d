"""How a trial tells what it sees, and that it has failed."""

from __future__ import annotations

import time

BOOT_SECONDS = 600.0  # a quiet machine takes 30; this is for one that is many times slower


class TrialFailure(Exception):
    """What was to be shown did not happen."""


class Report:
    """Says what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, message: str) -> None:
        print(f"{time.monotonic() - self.started:6.1f} s  {message}", flush=True)
