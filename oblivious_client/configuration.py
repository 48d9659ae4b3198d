"""What a user has decided once: `config.toml`, below the environment and the command line.

The file names where to ask, which measurements or whose releases to demand, which mirrors have to
have seen the keys, and which model to ask. It holds no secret: a proxy's password is the one thing
that comes near, so only its owner can read it. That a simulated enclave will do, or another root
than AWS's, is no key of it: whoever wants either says so each time, and cannot forget it in a file.
An unknown key is an error, for one that is misspelt would otherwise be a demand that nobody makes.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from oblivious_client import places
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import UsageError
from oblivious_client.proxies import proxy_address

if TYPE_CHECKING:
    from protocol.note_key import NoteKey

FILE = "config.toml"
MIRROR_DOWN = ("refuse", "warn")
"""What is done where mirrors are silent; the first unless something else is said."""

LARGEST_FILE = 64 << 10
"""In octets: a few lines are some hundreds."""
_HEAD = "# Written by `oblivious-client setup`. `oblivious-client config show` tells what counts.\n"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says; several relays are tried in their order by `serve`.

    `mirror` has keys of signed notes, of which `mirrors` have to vouch, or all.
    """

    relay: tuple[str, ...] = ()
    gateway: str | None = None
    proxy: str | None = None
    pcrs: str | None = None
    trust: str | None = None
    mirror: tuple[str, ...] = ()
    mirrors: int | None = None
    mirror_of: str | None = None
    mirror_down: str | None = None
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
        self._check_mirrors()
        if not all(text and text.isprintable() for text in self._texts()):
            raise UsageError("a value is empty or has characters that cannot be printed")

    def _check_mirrors(self) -> None:
        """Raise UsageError for what is no key of a mirror, and for what is said of none."""
        for key in self.mirror:
            note_key(key)
        told = (self.mirrors, self.mirror_of, self.mirror_down)
        if not self.mirror and any(each is not None for each in told):
            raise UsageError(
                "it says what is wanted of mirrors and names none",
                advice="name their keys in `mirror`",
            )
        if self.mirrors is not None and not 1 <= self.mirrors <= len(self.mirror):
            raise UsageError(f"`mirrors` is how many of the {len(self.mirror)} have to vouch")
        if self.mirror_down not in (None, *MIRROR_DOWN):
            raise UsageError(f"`mirror_down` is one of {', '.join(MIRROR_DOWN)}")

    def _texts(self) -> list[str]:
        rest = (self.gateway, self.proxy, self.pcrs, self.trust, self.mirror_of, self.model)
        return [*self.relay, *(text for text in rest if text is not None)]


def note_key(text: str) -> NoteKey:
    """Return the key of a mirror; raises UsageError."""
    # Few name a mirror; the others do not wait for what reading its key needs.
    from protocol.errors import ProtocolError
    from protocol.note_key import NoteKey

    try:
        return NoteKey.decode(text)
    except ProtocolError as error:
        raise UsageError("`mirror` is a key of signed notes, or a list of them") from error


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
    relays = _texts(table.pop("relay", []), "`relay` is an address in quotes, or a list of them")
    mirror = _texts(table.pop("mirror", []), "`mirror` is a key in quotes, or a list of them")
    mirrors = table.pop("mirrors", None)
    if mirrors is not None and type(mirrors) is not int:  # which True is not
        raise UsageError("`mirrors` has to be a number")
    wrong = [key for key, value in table.items() if not isinstance(value, str)]
    if wrong:
        raise UsageError(f"`{wrong[0]}` has to be text in quotes")
    for key in ("pcrs", "trust"):
        if table.get(key):
            table[key] = str(folder / table[key])  # a relative path begins at the file's folder
    return Configuration(relay=relays, mirror=mirror, mirrors=mirrors, **table)


def _texts(value: object, what: str) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(isinstance(each, str) for each in several):
        raise UsageError(what)
    return tuple(several)


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
