"""A short run of what `scripts/soak-paid` does: a few kills, every token and unit accounted for."""

import subprocess
import sys
from shutil import which

import pytest

from scripts.local.stack import ROOT

DEADLINE_SECONDS = 1800.0  # it took 14 minutes where twenty others wanted the two processors


@pytest.mark.slow
@pytest.mark.skipif(which("redis-server") is None, reason="redis-server is not here")
def test_no_token_and_no_unit_is_lost_when_parts_are_killed() -> None:
    options = ["--kills", "8", "--windows", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.soaking.paid", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BREACH" not in done.stdout
