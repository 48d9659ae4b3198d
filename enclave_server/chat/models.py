"""The models on offer, the upstreams that serve them, and where an upstream's key is found."""

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from enclave_server.addresses import Address, TcpAddress, UnixAddress, VsockAddress
from protocol.provisioning import Secrets

CONNECT_SECONDS = 5.0
# An answer in one piece begins when its last word has been thought of.
FIRST_BYTE_SECONDS = 300.0
TOTAL_SECONDS = 600.0

# Exchanges with one upstream at a time, by one worker process.
CONCURRENCY = 4096
# The embedded engine answers two at a time and queues the rest without a limit of its own.
EMBEDDED_CONCURRENCY = 32
# Connections kept for the next request.
IDLE_CONNECTIONS = 64

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


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server, its dialect, how to reach it and how long to wait for it, in seconds.

    With a `host_name` the connection is TLS and the certificate must be for that name. Without
    one it is plain, which only a Unix socket or a loopback address may be; other TCP addresses
    are then verified for the host in the address.
    """

    name: str
    address: Address
    host_name: str | None = None
    path_prefix: str = "/v1"
    dialect: str = "openai-chat"
    key: KeySource | None = None
    account: SettingsSource = no_account
    ca_file: str | None = None
    connect_seconds: float = CONNECT_SECONDS
    first_byte_seconds: float = FIRST_BYTE_SECONDS
    total_seconds: float = TOTAL_SECONDS
    concurrency: int = CONCURRENCY
    idle_connections: int = IDLE_CONNECTIONS

    def __post_init__(self) -> None:
        if isinstance(self.address, VsockAddress) and self.host_name is None:
            raise ValueError(f"upstream {self.name!r} is reached over vsock and needs a host_name")
        if not self.path_prefix.isascii() or not self.path_prefix.isprintable():
            raise ValueError(f"upstream {self.name!r} has an impossible path_prefix")

    @property
    def tls_name(self) -> str | None:
        """The name that the upstream's certificate must have, or None for a plain connection."""
        if self.host_name is None and isinstance(self.address, TcpAddress):
            return None if _is_loopback(self.address.host) else self.address.host
        return self.host_name

    @property
    def authority(self) -> str:
        """The value of the Host field."""
        if self.host_name is not None:
            return self.host_name
        if isinstance(self.address, TcpAddress):
            return str(self.address).removeprefix("tcp://")
        return "localhost"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return a verifying context (system certificates, or `ca_file` alone), or None."""
        if self.tls_name is None:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its name here, its upstream, its name there, and what it cannot do."""

    name: str
    upstream: Upstream
    upstream_name: str
    tools: bool = True
    images: bool = True
    max_choices: int = 128
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ModelTable:
    """The models in the order in which they are listed."""

    models: tuple[Model, ...]
    _by_name: Mapping[str, Model] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {model.name: model for model in self.models}
        if len(by_name) != len(self.models):
            raise ValueError("two models have the same name")
        object.__setattr__(self, "_by_name", by_name)

    def find(self, name: str) -> Model | None:
        """Return the model of that exact name."""
        return self._by_name.get(name)

    def upstreams(self) -> Iterable[Upstream]:
        """Return each upstream once."""
        return {model.upstream.name: model.upstream for model in self.models}.values()


def embedded_model(name: str, socket_path: str, system_prompt: str | None) -> Model:
    """Return the model that the embedded engine serves on `socket_path`."""
    upstream = Upstream(
        "embedded",
        UnixAddress(socket_path),
        concurrency=EMBEDDED_CONCURRENCY,
        # Each connection occupies a thread of the engine for as long as it is kept.
        idle_connections=0,
    )
    return Model(
        name,
        upstream,
        upstream_name=name,
        tools=False,
        images=False,
        max_choices=2,
        system_prompt=system_prompt,
    )
