"""What the log says, and what it cannot be made to say."""

import io
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from enclave_server.log import Log
from host_proxy.log import log as proxy_log


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line() -> None:
    stream = io.StringIO()
    log = Log(stream, lambda: 1.23456, worker=3)
    log.event("started", connections=1, address="tcp://[::1]:80", simulated=True, rest=None)
    fields = {"worker": 3, "connections": 1, "address": "tcp://[::1]:80", "simulated": True}
    assert lines(stream) == [{"time": 1.235, "event": "started", **fields, "rest": None}]


@pytest.mark.parametrize(
    "stray",
    ['{"model": "x"}', "two words", "line\nbreak", "“quoted”", "a" * 201, "What?", "\x1b[0m"],
)
def test_prose_does_not_pass(stray: str) -> None:
    stream = io.StringIO()
    Log(stream).event("started", value=stray)
    assert lines(stream)[0]["value"] == "?"
    assert len(stream.getvalue().splitlines()) == 1


def test_requests_are_counted_by_class() -> None:
    stream = io.StringIO()
    log = Log(stream, lambda: 5.0)
    log.request("ohttp", 200, 100, 10, 0.25)
    log.request("ohttp", 200, 300, 30, 0.75)
    log.request("ohttp", 422, 50, 5, 0.001)
    assert stream.getvalue() == ""
    log.report()
    first, second = lines(stream)
    assert first == {
        "time": 5.0,
        "event": "requests",
        "route": "ohttp",
        "status": 200,
        "count": 2,
        "received_bytes": 400,
        "sent_bytes": 40,
        "mean_ms": 500.0,
        "longest_ms": 750.0,
    }
    assert (second["status"], second["count"]) == (422, 1)
    assert (second["mean_ms"], second["longest_ms"]) == (1.0, 1.0)


def test_times_are_told_to_the_microsecond() -> None:
    stream = io.StringIO()
    log = Log(stream)
    for seconds in (0.0123456, 0.002, 0.0):
        log.request("keys", 200, 1, 2, seconds)
    log.report()
    assert (lines(stream)[0]["mean_ms"], lines(stream)[0]["longest_ms"]) == (4.782, 12.346)


def test_a_report_starts_anew() -> None:
    stream = io.StringIO()
    log = Log(stream)
    log.request("keys", 200, 0, 10, 0.1)
    log.report()
    log.report()
    assert len(lines(stream)) == 1


def test_counts_are_told_by_the_next_report_and_start_anew() -> None:
    stream = io.StringIO()
    log = Log(stream, lambda: 5.0, worker=1)
    log.count("b")
    log.count("a")
    log.count("b")
    assert stream.getvalue() == ""
    log.report()
    log.report()
    assert lines(stream) == [
        {"time": 5.0, "event": "a", "worker": 1, "count": 1},
        {"time": 5.0, "event": "b", "worker": 1, "count": 2},
    ]


@pytest.mark.parametrize("write", [lambda: Log().event("started"), lambda: proxy_log("started")])
def test_a_reader_that_stands_still_stops_nobody(
    write: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_much() -> None:
        for _ in range(3000):
            write()

    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        written = threading.Thread(target=write_much, daemon=True)
        written.start()
        written.join(120)
        try:
            assert not written.is_alive()
            assert os.read(read_end, 4096).startswith(b"{")
        finally:
            os.close(read_end)
            written.join(120)
