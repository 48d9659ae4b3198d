"""Where the credentials for an upstream are found: in the environment, in files, or handed over."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.provisioning import Secrets

KeySource = Callable[[], str | None]
Settings = Mapping[str, str]
SettingsSource = Callable[[], Settings]


@dataclass(frozen=True, slots=True)
class EnvironmentKey:
    """An API key in an environment variable; absent if unset or empty."""

    name: str

    def __call__(self) -> str | None:
        return _usable(os.environ.get(self.name, ""))


@dataclass(frozen=True, slots=True)
class FileKey:
    """An API key that is a file's content; read each time, so that it can be replaced."""

    path: str

    def __call__(self) -> str | None:
        try:
            return _usable(Path(self.path).read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            return None


class ProvisionedKeys:
    """API keys that arrive while the server runs, by the upstream's name; never printed."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._accounts: dict[str, Settings] = {}

    def __repr__(self) -> str:
        return f"ProvisionedKeys({len(self._keys)} keys)"

    def put(self, keys: Mapping[str, str]) -> None:
        """Replace all keys; raises ValueError for one that no HTTP field can carry."""
        if not all(map(_usable, keys.values())):
            raise ValueError("an API key is empty or not printable ASCII")
        self._keys = dict(keys)

    def put_all(self, secrets: Secrets) -> None:
        """Replace all keys and settings."""
        self.put(secrets.keys)
        self._accounts = dict(secrets.settings)

    def source(self, upstream: str) -> KeySource:
        """Return where the key of `upstream` will be found."""
        return lambda: _usable(self._keys.get(upstream, ""))

    def account(self, upstream: str) -> SettingsSource:
        """Return where the settings of the operator's account at `upstream` will be found."""
        return lambda: self._accounts.get(upstream, {})


def no_account() -> Settings:
    """Return no settings: whoever has the key has one account there."""
    return {}


def _usable(key: str) -> str | None:
    key = key.strip()
    # It becomes an HTTP field value, in which a line end would begin another field.
    return key if key and all("!" <= character <= "~" for character in key) else None
