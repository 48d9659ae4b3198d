"""The place of the counts: made, named, and removed by who made it."""

import contextlib
import os
from pathlib import Path

import pytest

from token_issuer.counts_directory import VARIABLE, counts_directory


def test_it_is_there_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with counts_directory():
        place = Path(os.environ[VARIABLE])
        (place / "counter_1.db").write_bytes(b"1")
        assert place.stat().st_mode & 0o077 == 0
    assert not place.exists()
    assert VARIABLE not in os.environ


def test_a_process_that_was_forked_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere")
    own = os.getpid()
    with contextlib.ExitStack() as stack:
        stack.enter_context(counts_directory())
        place = Path(os.environ[VARIABLE])
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
    assert place.exists()
    place.rmdir()
