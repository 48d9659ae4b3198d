"""Recorded answers, where there are any, are read as they are meant (tests/support/recordings.py).

Here are inputs of our own in the same form, so that the checker is tried as well.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from enclave_server.chat.dialects.table import DIALECTS
from tests.support.recordings import (
    FEATURES,
    NONE,
    VARIABLE,
    Recording,
    differences,
    folder,
    read_all,
    table,
)
from tests.support.upstream import DONE, chunk_of, completion, event

PLACE = folder()
ROOT = Path(__file__).resolve().parents[4]


READ_OTHERWISE = {
    # Another model answered than the one that was asked, which nobody here allows: an error.
    "anthropic-fallback-stream",
    # Tokens read from a cache are tokens of the prompt, as the recorded sum has it.
    "bedrock-cache_usage_includes_cache_tokens",
    # Calls whose arguments come in pieces, which nobody here asks for, are calls all the same.
    "google-stream-tool-call-arguments-stream",
    "google-stream-tool-call-array-arguments-missing-terminal-function-call-stream",
}
"""Recordings whose `expected` is not what is right to say."""


@pytest.mark.skipif(PLACE is None, reason=f"{VARIABLE} names no folder of recordings")
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_recording_is_read_as_it_is_meant(dialect: str) -> None:
    found = [item for item in read_all(PLACE or Path()) if item.dialect == dialect]
    wrong = {item.name: told for item in found if (told := differences(item))}
    assert wrong.keys() == READ_OTHERWISE & {item.name for item in found}, wrong


@pytest.mark.skipif(PLACE is None, reason=f"{VARIABLE} names no folder of recordings")
def test_documents_tell_how_many_are_read_as_they_are_meant() -> None:
    assert table(read_all(PLACE or Path())) in (ROOT / "docs" / "models.md").read_text()


EXPECTED = {
    "content": "4",
    "reasoning": "Hm",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}
CHUNKS = (
    event(chunk_of({"reasoning_content": "Hm"}))
    + event(chunk_of({"content": "4"}, "stop", usage=completion("")["usage"]))
    + DONE
)


def recordings(path: Path, body: bytes, **changes: Any) -> list[Recording]:
    """Write one recording into a file as others do, and read it again."""
    item = {
        "name": "ours",
        "api": "openai-chat",
        "response": {
            "status": 200,
            "headers": {"Content-Type": "text/event-stream; charset=utf-8"},
            "body_base64": base64.b64encode(body).decode(),
        },
        "expected": EXPECTED,
        **changes,
    }
    path.joinpath("ours.json").write_text(json.dumps([item, {**item, "api": "unknown"}]))
    return list(read_all(path))


def test_a_recording_that_is_read_rightly_differs_in_nothing(tmp_path: Path) -> None:
    (recording,) = recordings(tmp_path, CHUNKS)
    assert recording.is_stream
    assert differences(recording) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"content": "5"},
        {"reasoning": ""},
        {"finish_reason": "length"},
        {"tool_calls": [{"name": "f", "arguments": "{}"}]},
        {"usage": {"prompt_tokens": 6}},
        {"error": "x"},
    ],
)
def test_any_difference_is_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    (recording,) = recordings(tmp_path, CHUNKS, expected=EXPECTED | changes)
    assert differences(recording)


def test_a_failure_is_a_difference_unless_it_is_expected(tmp_path: Path) -> None:
    (recording,) = recordings(tmp_path, event({"error": {"code": 503}}))
    assert differences(recording)
    (recording,) = recordings(tmp_path, CHUNKS[:60], expected={"error": "it is cut"})
    assert differences(recording) == []


def test_what_an_exchange_shows_is_counted(tmp_path: Path) -> None:
    (recording,) = recordings(tmp_path, CHUNKS)
    assert recording.features == {"text", "streams", "reasoning", "usage"}
    cells = dict(line.strip("| ").split(" | ") for line in table([recording]).splitlines())
    assert cells.pop("feature") == "`openai-chat`"
    assert cells.keys() == {"---", *FEATURES, "all"}
    assert (cells["text"], cells["calls"], cells["all"]) == ("1 of 1", NONE, "1 of 1")
    (wrong,) = recordings(tmp_path, CHUNKS, expected=EXPECTED | {"content": "5"})
    assert "| text | 1 of 2 |" in table([recording, wrong])


@pytest.mark.parametrize(
    ("asked", "feature"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "results of calls"),
        ({"contents": [{"parts": [{"functionResponse": {}}]}]}, "results of calls"),
        ({"messages": [{"content": [{"type": "image", "source": {}}]}]}, "images"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]}, "images"),
        ({"input": [{"content": [{"type": "input_file"}]}]}, "files"),
        ({"response_format": {"type": "json_schema"}}, "structured output"),
        ({"messages": [{"content": [{"signature": "c2ln"}]}]}, "reasoning sent back"),
    ],
)
def test_what_was_asked_is_counted(tmp_path: Path, asked: Any, feature: str) -> None:
    (recording,) = recordings(tmp_path, CHUNKS, request={"body": asked})
    assert recording.features - {"text", "streams", "reasoning", "usage"} == {feature}


def test_errors_are_told_apart(tmp_path: Path) -> None:
    (before,) = recordings(tmp_path, b"{}", response={"status": 429, "headers": {}}, expected=None)
    (within,) = recordings(tmp_path, CHUNKS[:60], expected={"error": "it is cut"})
    assert before.features == {"errors before an answer"}
    assert within.features == {"streams", "errors in a stream"}
