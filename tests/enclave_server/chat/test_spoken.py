"""What was said of a choice, and whether its calls can be read."""

import pytest

from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.spoken import Spoken, SpokenCall, is_readable, require_readable


def spoken(arguments: bytes, finish: str | None = "tool_calls", name: str = "f") -> Spoken:
    calls = [SpokenCall("c", name, bytearray(arguments))]
    text = bytearray("Wet \N{GRINNING FACE}".encode())
    return Spoken(1, text, bytearray(b"Hm"), bytearray(), calls, finish)


def test_it_is_signed_as_text() -> None:
    assert spoken(b"{}").output() == {
        "index": 1,
        "content": "Wet \N{GRINNING FACE}",
        "reasoning_content": "Hm",
        "refusal": "",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
        "finish_reason": "tool_calls",
    }


@pytest.mark.parametrize("arguments", [b"", b" ", b"{}", b'{"a":[1]}', b"null"])
def test_arguments_are_json_or_none_at_all(arguments: bytes) -> None:
    assert is_readable("f", arguments.decode())
    require_readable([spoken(arguments)])


@pytest.mark.parametrize(("arguments", "name"), [(b"{", "f"), (b"{}{}", "f"), (b"{}", "")])
def test_a_call_that_cannot_be_read_is_a_fault_unless_it_was_cut_off(
    arguments: bytes, name: str
) -> None:
    assert not is_readable(name, arguments.decode())
    for finish in ("tool_calls", "stop", None):
        with pytest.raises(UpstreamError) as caught:
            require_readable([spoken(arguments, finish, name)])
        assert caught.value.failure is Failure.TOOL_USE_FAILED
    for finish in ("length", "content_filter"):
        require_readable([spoken(arguments, finish, name)])
