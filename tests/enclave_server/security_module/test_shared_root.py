"""A root in a file, which several modules share."""

import time
from pathlib import Path

import pytest

from enclave_server.security_module.shared_root import shared_root
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.attestation import verify_attestation


def test_two_modules_believe_each_other(tmp_path: Path) -> None:
    file = tmp_path / "root.pem"
    one, other = (SimulatedSecurityModule(root=shared_root(file)) for _ in range(2))
    assert one.root == other.root
    document = one.attest(None, None, b"n")
    verify_attestation(document, now=time.time(), root=other.root, nonce=b"n")
    assert [path.name for path in tmp_path.iterdir()] == ["root.pem"]
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"not PEM"])
def test_a_file_with_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "root.pem"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        shared_root(file)
    assert file.read_bytes() == content
