"""The end of a stream is kept back, however it is split."""

import pytest

from oblivious_client.events import EndKeeper
from protocol.event_stream import DONE


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_sentinel_is_kept_until_the_end(size: int) -> None:
    said = b'data: {"a": "data: [DONE]"}\n\n'
    for sentinel in (b"data: [DONE]\n\n", b"data:[DONE]\r\r"):
        for data in (said + sentinel + b": padding\n\n", sentinel):
            keeper = EndKeeper()
            pieces = (data[start : start + size] for start in range(0, len(data), size))
            passed = b"".join(keeper.pass_on(piece) for piece in pieces)
            assert DONE.encode() not in passed.removeprefix(said)
            assert passed + keeper.release() == data
            assert keeper.release() == b""
