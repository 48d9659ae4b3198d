"""What a running endpoint leaves for `serve status` and `serve stop`: its URL and a token.

A file for each port, which its user alone can read. The token is new at each start and good for
these two questions only, so that nobody has to be ended by a process number that may by now be
another's. What is left behind by one that was killed answers nothing, and is cleared away.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from oblivious_client import places
from oblivious_client.local.surfaces import HEALTH, STOP

SECONDS = 10.0
"""For a running endpoint to answer one of the questions."""

_PREFIX, _SUFFIX = "serve-", ".json"


@dataclass(frozen=True, slots=True)
class Running:
    """An endpoint that was started."""

    url: str
    process: int
    token: str = field(repr=False)


@contextmanager
def announced(url: str, folder: Path | None = None) -> Iterator[bytes]:
    """Leave a file while the endpoint runs; give the token. A disk that is full is no error."""
    running = Running(url, os.getpid(), secrets.token_urlsafe(32))
    path = (folder or places.state()) / f"{_PREFIX}{httpx.URL(url).port}{_SUFFIX}"
    with suppress(OSError):
        places.make_private(path.parent)
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(running), file)
    try:
        yield running.token.encode()
    finally:
        if running in dict(_left(folder)).values():  # not that of another which started since
            with suppress(OSError):
                path.unlink()


def found(folder: Path | None = None) -> list[tuple[Running, dict[str, Any]]]:
    """Return the endpoints that answer, each with what it says of itself; clear others away."""
    alive = []
    for path, running in _left(folder):
        told = _asked("GET", running, HEALTH)
        if told is None:
            with suppress(OSError):
                path.unlink()
        else:
            alive.append((running, told))
    return alive


def stop(running: Running) -> bool:
    """Tell an endpoint to stop; return whether it said that it does."""
    return _asked("POST", running, STOP) is not None


def _left(folder: Path | None) -> list[tuple[Path, Running]]:
    files = []
    for path in sorted((folder or places.state()).glob(f"{_PREFIX}*{_SUFFIX}")):
        with suppress(OSError, ValueError, TypeError):
            files.append((path, Running(**json.loads(path.read_text(encoding="utf-8")))))
    return files


def _asked(method: str, running: Running, path: str) -> dict[str, Any] | None:
    """Return what an endpoint answers, or None if it is none of ours that runs."""
    fields = {"authorization": f"Bearer {running.token}"}
    try:
        # Straight to this machine, whatever proxies the environment names.
        with httpx.Client(trust_env=False, timeout=SECONDS) as http:
            answer = http.request(method, running.url + path, headers=fields)
            told = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return told if answer.is_success and isinstance(told, dict) else None
