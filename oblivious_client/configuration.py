"""What a user has decided once: `config.toml`, below the environment and the command line.

The file names where to ask, which measurements or whose releases to demand, and which model to
ask. It holds no secret: a proxy's password is the one thing that comes near, so only its owner can
read it. That a simulated enclave will do, or another root than AWS's, is no key of it: whoever
wants either says so each time, and cannot forget it in a file. An unknown key is an error, for one
that is misspelt would otherwise be a demand that nobody makes.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from oblivious_client import places
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import UsageError
from oblivious_client.proxies import proxy_address

FILE = "config.toml"
LARGEST_FILE = 64 << 10
"""In octets: a few lines are some hundreds."""
_HEAD = "# Written by `oblivious-client setup`. `oblivious-client config show` tells what counts.\n"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says; several relays are tried in their order by `serve`."""

    relay: tuple[str, ...] = ()
    gateway: str | None = None
    proxy: str | None = None
    pcrs: str | None = None
    trust: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if self.relay and self.gateway:
            raise UsageError("it names a relay and a gateway", advice="one of them has to go")
        if self.pcrs and self.trust:
            raise UsageError(
                "it names measurements and whose releases will do", advice="one of them has to go"
            )
        for address in self.relay:
            Endpoint.parse(Role.RELAY, address)
        if self.gateway is not None:
            Endpoint.parse(Role.GATEWAY, self.gateway)
        if self.proxy is not None:
            _check_proxy(self.proxy)
        if not all(text and text.isprintable() for text in self._texts()):
            raise UsageError("a value is empty or has characters that cannot be printed")

    def _texts(self) -> list[str]:
        rest = (self.gateway, self.proxy, self.pcrs, self.trust, self.model)
        return [*self.relay, *(text for text in rest if text is not None)]


KEYS = tuple(field.name for field in fields(Configuration))


def place() -> Path:
    """Return where the file is, whether or not there is one."""
    return places.configuration() / FILE


def read(path: Path) -> Configuration:
    """Return what the file says, nothing if there is none; raises UsageError that names it."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return Configuration()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _parsed(data, path.parent)
    except UsageError as error:
        advice = error.advice or "correct it, or write it anew with `oblivious-client setup`"
        raise UsageError(f"{path}: {error}", advice=advice) from error


def _parsed(data: bytes, folder: Path) -> Configuration:
    if len(data) > LARGEST_FILE:
        raise UsageError(f"it has more than {LARGEST_FILE} octets")
    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise UsageError("it is not UTF-8 text") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"it is not TOML: {error}") from error
    unknown = [key for key in table if key not in KEYS]
    if unknown:
        raise UsageError(
            f"it has keys that mean nothing: {', '.join(map(repr, unknown))}",
            advice=f"the keys are {', '.join(KEYS)}",
        )
    relays = table.pop("relay", [])
    relays = [relays] if isinstance(relays, str) else relays
    if not isinstance(relays, list) or not all(isinstance(each, str) for each in relays):
        raise UsageError("`relay` is an address in quotes, or a list of them")
    wrong = [key for key, value in table.items() if not isinstance(value, str)]
    if wrong:
        raise UsageError(f"`{wrong[0]}` has to be text in quotes")
    for key in ("pcrs", "trust"):
        if table.get(key):
            table[key] = str(folder / table[key])  # a relative path begins at the file's folder
    return Configuration(relay=tuple(relays), **table)


def _check_proxy(text: str) -> None:
    try:
        proxy_address(text)
    except ValueError as error:
        raise UsageError(
            "`proxy` is not the address of a proxy", advice="write http://[NAME:WORD@]HOST:PORT"
        ) from error


def as_toml(said: Configuration) -> str:
    """Return the text of a file that says this."""
    # JSON's strings of printable characters are TOML's.
    lines = []
    for key in KEYS:
        value = getattr(said, key)
        if value:
            several = isinstance(value, tuple) and len(value) > 1
            one = value[0] if isinstance(value, tuple) and not several else value
            lines.append(f"{key} = {json.dumps(one, ensure_ascii=False)}\n")
    return _HEAD + "".join(lines)


def write(path: Path, said: Configuration) -> None:
    """Put a file there that its owner alone can read, or leave all as it was; raises UsageError.

    What was there before is kept beside it, with a `~` behind its name.
    """
    made: str | None = None
    try:
        places.make_private(path.parent)
        handle, made = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # 0600
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(as_toml(said))
        if path.exists():
            path.replace(path.with_name(path.name + "~"))
        Path(made).replace(path)
        made = None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise UsageError("a value is not UTF-8 text") from error
    finally:
        if made is not None:
            with suppress(OSError):
                Path(made).unlink()
