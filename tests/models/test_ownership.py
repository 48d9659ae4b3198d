"""The rule of who may open a request, given to the model checker Spin: all states, and faults."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("ownership.pml")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("spin") is None or shutil.which("gcc") is None,
        reason="the model checker Spin and a compiler for it are not installed here",
    ),
]


def checked(folder: Path, fault: int) -> str:
    """Return what Spin says of the model with that fault; 0 is none."""
    subprocess.run(["spin", f"-DFAULT={fault}", "-a", str(MODEL)], cwd=folder, check=True)
    build = ["gcc", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"]
    subprocess.run(build, cwd=folder, check=True)
    done = subprocess.run(
        ["./pan", "-m500000"], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_no_request_is_opened_twice_in_any_order_of_events(tmp_path: Path) -> None:
    said = checked(tmp_path, 0)
    assert "errors: 0" in said
    assert "not completed" not in said
    states = re.search(r"(\d+) states, stored", said)
    assert states is not None
    assert int(states[1]) > 200_000


@pytest.mark.parametrize("fault", [1, 2, 3])
def test_each_fault_is_found(tmp_path: Path, fault: int) -> None:
    assert "errors: 1" in checked(tmp_path, fault)
