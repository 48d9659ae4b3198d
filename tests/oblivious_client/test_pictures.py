"""Pictures beside a question."""

import base64
from pathlib import Path

import pytest

from oblivious_client import pictures
from oblivious_client.errors import UsageError


@pytest.mark.parametrize(
    ("begins", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"RIFF1234WEBP", "webp"),
    ],
)
def test_the_first_octets_tell_what_it_is(begins: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(begins + b"rest")
    head, _, data = pictures.data_url(path).partition(",")
    assert head == f"data:image/{kind};base64"
    assert base64.b64decode(data) == begins + b"rest"
    path.write_bytes(begins[:-1])
    with pytest.raises(UsageError, match="no picture"):
        pictures.data_url(path)


def test_what_is_too_large_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGEST_FILE", 8)
    path = tmp_path / "a.gif"
    path.write_bytes(b"GIF89a12")
    assert pictures.data_url(path)
    path.write_bytes(b"GIF89a123")
    with pytest.raises(UsageError, match="larger"):
        pictures.data_url(path)
    with pytest.raises(UsageError, match="cannot read"):
        pictures.data_url(tmp_path / "none")
