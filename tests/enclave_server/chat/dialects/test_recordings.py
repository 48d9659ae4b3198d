"""Recorded answers, where there are any, are read as they are meant (tests/support/recordings.py).

Here are inputs of our own in the same form, so that the checker is tried as well.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from enclave_server.chat.dialects.table import DIALECTS
from tests.support.recordings import VARIABLE, Recording, differences, folder, read_all
from tests.support.upstream import DONE, chunk_of, completion, event

PLACE = folder()


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
