"""Anthropic's events within Amazon's frames."""

import base64
import json

import pytest

from enclave_server.chat.dialects.anthropic.events import EventReader
from enclave_server.chat.dialects.anthropic.frames import FramedEventReader
from enclave_server.chat.errors import Failure, UpstreamError
from tests.support.amazon_frames import event, failure, frame
from tests.support.anthropic_messages import CONTENTS, Json, answered, read, sse
from tests.support.handing import check_handing, size_of_frames
from tests.support.kept import kept_of


def framed(events: list[Json]) -> bytes:
    return b"".join(
        event("chunk", {"bytes": base64.b64encode(json.dumps(told).encode()).decode()})
        for told in events
    )


@pytest.mark.parametrize("case", CONTENTS)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_frames_say_what_events_say(case: str, step: int) -> None:
    reason, content = CONTENTS[case]
    events = answered(content, reason)
    assert read(FramedEventReader(), framed(events), step) == read(EventReader(), sse(events))


EVENT = {":message-type": "event", ":event-type": "chunk"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (failure("throttlingException"), Failure.LIMITED),
        (frame(EVENT, b"{}"), Failure.BROKEN),
        (frame(EVENT, b'{"bytes":"!"}'), Failure.BROKEN),
        (frame(EVENT, b"\xff"), Failure.BROKEN),
        (frame({}, b"{}"), Failure.BROKEN),
        (frame(EVENT, b"{}")[:-1] + b"x", Failure.BROKEN),
        (bytes(12), Failure.BROKEN),
    ],
)
def test_what_is_no_event_is_a_failure(data: bytes, expected: Failure) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(FramedEventReader(), data)
    assert caught.value.failure is expected


def test_what_is_kept_of_an_answer_and_of_a_frame_is_counted() -> None:
    told = answered(CONTENTS["thought and text"][1], "end_turn")
    events = told[: [each["type"] for each in told].index("content_block_stop")]
    begun = framed(events)[:20]
    kept = kept_of(FramedEventReader(), framed(events), begun)
    assert kept == kept_of(EventReader(), sse(events)) > 0


def test_what_is_large_is_read_by_another_that_is_given_the_state() -> None:
    data = framed(answered(CONTENTS["thought and calls"][1], "tool_use"))
    check_handing(FramedEventReader, data, size_of_frames(data))
