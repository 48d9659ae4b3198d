"""Lines about requests: when, what, how large, how long, and nothing that was written."""

import pytest

from oblivious_client.local.log import line
from oblivious_client.local.messages import Handled


def handled(method: str, path: str, *, is_whole: bool = True) -> Handled:
    return Handled(method, path, 200, 12, 345, 0.0789, is_whole)


def test_a_line_tells_what_happened() -> None:
    said = line(handled("POST", "/v1/chat/completions"), now=1_800_000_000)
    assert said == (
        "2027-01-15T08:00:00Z POST /v1/chat/completions 200 in 12 out 345 octets, 79 ms, whole"
    )
    assert line(handled("GET", "/", is_whole=False), now=0).endswith("ms, broken off")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/v1/models/secret/name", "GET /v1/models/* "),
        ("GET", "/v1/models/", "GET /v1/models "),
        ("SECRET", "/v1/models", "? /v1/models "),
        ("GET", "/secret", "GET elsewhere "),
        ("", "", "? elsewhere "),
    ],
)
def test_a_programs_own_words_are_not_in_it(method: str, path: str, said: str) -> None:
    written = line(handled(method, path), now=0)
    assert said in written
    assert "secret" not in written.lower()
