"""The log: one line an event, and a reader that went away stops nothing."""

import io
import json
import os

import pytest

from token_issuer.log import Log


def test_an_event_is_a_line_without_what_has_no_value() -> None:
    stream = io.StringIO()
    log = Log(stream, lambda: 1.23456)
    log.event("request", status=200, account=None, tokens=0)
    log.event("other")
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"time": 1.235, "event": "request", "status": 200, "tokens": 0},
        {"time": 1.235, "event": "other"},
    ]


def test_standard_error_is_found_when_it_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    Log().event("something")
    assert '"event": "something"' in capsys.readouterr().err


def test_a_reader_that_went_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    Log(stream).event("unread")
    with pytest.raises(BrokenPipeError):
        stream.close()
