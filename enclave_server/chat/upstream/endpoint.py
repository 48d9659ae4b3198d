"""An upstream: where it is, how it is spoken to, and how long it is waited for."""

import ipaddress
from dataclasses import dataclass

from enclave_server.addresses import Address, TcpAddress, VsockAddress
from enclave_server.chat.profiles import PLAIN, Profile
from enclave_server.chat.upstream.credentials import KeySource, SettingsSource, no_account

CONNECT_SECONDS = 5.0
# Of a stream; an answer in one piece begins when its last word has been thought of, for which it
# has the whole time.
FIRST_BYTE_SECONDS = 300.0
# Between two words of a stream: models that think and say nothing of it take minutes.
IDLE_SECONDS = 300.0
# What providers ask for where their models think for long.
TOTAL_SECONDS = 1800.0

# Exchanges with one upstream at a time, by one worker process.
CONCURRENCY = 4096
# Connections kept for the next request.
IDLE_CONNECTIONS = 64

DIALECT = "openai-chat"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server, its dialect, how to reach it and how long to wait for it, in seconds.

    Without `first_byte_seconds` streams have its default, and answers in one piece the whole time.

    With a `host_name` the connection is TLS and the certificate must be for that name. Without
    one it is plain, which only a Unix socket or a loopback address may be; other TCP addresses
    are then verified for the host in the address.

    One that `tells_its_end` closes a connection that was given up when it has stopped thinking, not
    before; until then the exchange counts.
    """

    name: str
    address: Address
    host_name: str | None = None
    path_prefix: str = "/v1"
    dialect: str = DIALECT
    profile: Profile = PLAIN
    key: KeySource | None = None
    account: SettingsSource = no_account
    ca_file: str | None = None
    connect_seconds: float = CONNECT_SECONDS
    first_byte_seconds: float | None = None
    idle_seconds: float = IDLE_SECONDS
    total_seconds: float = TOTAL_SECONDS
    concurrency: int = CONCURRENCY
    idle_connections: int = IDLE_CONNECTIONS
    tells_its_end: bool = False

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

    def head_seconds(self, *, is_stream: bool) -> float:
        """How long the head of an answer is waited for."""
        if self.first_byte_seconds is not None:
            return self.first_byte_seconds
        return FIRST_BYTE_SECONDS if is_stream else self.total_seconds

    @property
    def authority(self) -> str:
        """The value of the Host field."""
        if self.host_name is not None:
            return self.host_name
        if isinstance(self.address, TcpAddress):
            return str(self.address).removeprefix("tcp://")
        return "localhost"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
