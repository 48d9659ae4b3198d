"""Where trust comes from: a file, or what came with the client."""

from pathlib import Path

import pytest

from oblivious_client.errors import UsageError
from oblivious_client.releases.trust_file import packaged_trust, read_trust
from tests.support.releases import TRUST


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(TRUST.encode_file())
    assert read_trust(path) == TRUST


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="does not say whom to trust"):
        read_trust(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_trust(tmp_path)


def test_what_came_with_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    assert packaged_trust() is None
    (tmp_path / "trust.json").write_bytes(TRUST.encode_file())
    assert packaged_trust() == TRUST
    (tmp_path / "trust.json").write_bytes(b"{}")
    with pytest.raises(UsageError):
        packaged_trust()
