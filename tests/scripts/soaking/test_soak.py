"""A short soak with one fault, as `scripts/soak` runs it: its table has nothing but zeros."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.local.stack import ROOT

DEADLINE_SECONDS = 300.0
MINUTES = "0.3"


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a short soak found, and what it printed."""
    file = tmp_path_factory.mktemp("soak") / "soak.json"
    command = [sys.executable, "-m", "scripts.soaking.soak", "--minutes", MINUTES, "--rate", "6"]
    done = subprocess.run(
        [*command, "--only", "worker", "--only", "relay", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert file.exists(), done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


def test_nothing_is_wrong_silent_lost_or_doubled(soaked: Any) -> None:
    found, printed = soaked
    assert found["asked"] > 30, printed
    names = ("wrong", "silent", "lost", "doubled", "wrong advice")
    assert {name: found[name] for name in names} == dict.fromkeys(names, 0), printed
    assert found["canaries"] == [], printed


def test_the_parts_that_were_killed_came_back(soaked: Any) -> None:
    found, printed = soaked
    assert {each["fault"] for each in found["outages"]} == {"worker", "relay"}, printed
    assert found["failed_outside"] == 0, printed


def test_every_kind_of_question_was_weighed(soaked: Any) -> None:
    _, printed = soaked
    assert "answered right" in printed
    assert "own memory, MiB" in printed
    assert Path("scripts/soak").is_file()
