"""What the tests of host_proxy share."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.host_proxy_process import listen_unix


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[socket.socket]:
    with listen_unix(tmp_path / "up") as listener:
        yield listener
