"""The configuration: a TOML file in which every table and key is optional.

Unknown tables and keys are refused, so that a misspelt setting cannot be ignored. Where the
server runs in an enclave the file is part of the measured image.
"""

import base64
import binascii
import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from enclave_server.addresses import parse_address
from enclave_server.chat.bounds import Bounds
from enclave_server.chat.conversation import Effort
from enclave_server.chat.profiles import LaterInstructions, Range, Thinking
from enclave_server.chat.sampling import SamplingName
from enclave_server.chat.upstream.endpoint import (
    CONNECT_SECONDS,
    DIALECT,
    IDLE_SECONDS,
    TOTAL_SECONDS,
)
from enclave_server.http.limits import Limits
from enclave_server.tables import Table, require
from enclave_server.tokens_table import BudgetTable, TokensTable, tariff
from protocol.attestation import MAX_PCRS
from protocol.chunked import CHUNK_SIZE
from protocol.provisioning import administrator_key
from protocol.shaping import GeometricSeries
from protocol.token_catalogue import Catalogue
from protocol.token_prices import IMAGE_OCTETS, Tariff

EMBEDDED_UPSTREAM = "embedded"
EMBEDDED_MODEL = "smollm2-135m-instruct"
ED25519_KEY_SIZE = 32
MIN_TICK_MILLISECONDS = 10  # of which the ticker keeps three quiet
MIN_CHUNK_BYTES = 64
NULLIFIER_KEY = "spent-tokens"
"""The name under which the key of nullifiers is handed over; no upstream may have it."""

MIN_ENGINE_MIB = 512  # below that no process of it starts
MEASURED_REGISTERS = (0, 1, 2, 3)
MAX_PEERS = 16  # each is asked in turn, four a second
MAX_ROUTE_SECONDS = 30  # a lost enclave's slots wait as long for their next key
SHARED_KEYS = {"lifetime_seconds": 3600, "announce_seconds": 300}

_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")


class ConfigError(Exception):
    """The configuration cannot be used; the text is one sentence for its author."""


class ServerTable(Table, frozen=True):
    """Where to listen and with how many processes."""

    listen: str = "vsock://any:5000"
    workers: int = 1
    grace_seconds: float = 10

    def __post_init__(self) -> None:
        parse_address(self.listen)
        require(1 <= self.workers <= 256, "server.workers must be from 1 to 256")
        require(self.grace_seconds >= 0, "server.grace_seconds must not be negative")


class KeysTable(Table, frozen=True):
    """The life of an HPKE key, in seconds; see `enclave_server.keys.ring` for the timeline."""

    lifetime_seconds: float = 24 * 3600
    announce_seconds: float = 3600
    grace_seconds: float = 600

    def __post_init__(self) -> None:
        require(self.announce_seconds > 0, "keys.announce_seconds must be positive")
        require(
            self.announce_seconds < self.lifetime_seconds,
            "keys.announce_seconds must be less than keys.lifetime_seconds",
        )
        require(
            0 <= self.grace_seconds <= self.lifetime_seconds,
            "keys.grace_seconds must be from 0 to keys.lifetime_seconds",
        )
        # A request without a Date is remembered until its key ends.
        require(
            math.isfinite(self.lifetime_seconds + self.grace_seconds),
            "keys.lifetime_seconds must be finite: every key has to end",
        )


class ReplayTable(Table, frozen=True):
    """The window for a request's date, and the memory against its second arrival."""

    window_seconds: int = 300
    capacity: int = 1 << 20
    require_date: bool = True

    def __post_init__(self) -> None:
        require(self.window_seconds > 0, "replay.window_seconds must be positive")
        require(1 <= self.capacity <= 1 << 28, "replay.capacity must be from 1 to 268435456")


class EvidenceTable(Table, frozen=True):
    """How often evidence is remade, and how often it is made for a client's own nonce."""

    refresh_seconds: float = 1800
    nonce_per_second: float = 10

    def __post_init__(self) -> None:
        require(self.refresh_seconds > 0, "evidence.refresh_seconds must be positive")
        require(self.nonce_per_second >= 0, "evidence.nonce_per_second must not be negative")


class StreamTable(Table, frozen=True):
    """The clock and the chunk size that hide a streamed answer's shape."""

    # With padding off, sizes and times show the words of an answer to whoever watches.
    padding: Literal["on", "off"] = "on"
    # What a reader hardly notices; half of it costs twice the processor time.
    tick_milliseconds: float = 100
    # 150 tokens a second, in events of up to 260 octets each.
    chunk_bytes: int = 4096
    # Ticks of the shortest answer, and by how much each longer duration exceeds the one before.
    series_first: int = 5
    series_ratio: float = 1.5

    def __post_init__(self) -> None:
        require(
            MIN_TICK_MILLISECONDS <= self.tick_milliseconds <= 10_000,
            f"stream.tick_milliseconds must be from {MIN_TICK_MILLISECONDS} to 10000",
        )
        require(
            MIN_CHUNK_BYTES <= self.chunk_bytes <= CHUNK_SIZE,
            f"stream.chunk_bytes must be from {MIN_CHUNK_BYTES} to {CHUNK_SIZE}",
        )
        GeometricSeries(self.series_first, self.series_ratio)


class ChatTable(Table, frozen=True):
    """The dialects that are accepted, and what the embedded model is told when nobody else does."""

    bare_json: bool = False
    # Of the signatures for clients that ask for no algorithm. Those of before read version 1 alone,
    # which signs less; who asks for an algorithm gets version 2 whatever this says.
    signature_version: Literal[1, 2] = 2
    system_prompt: str = "You are a helpful, concise assistant."


class EngineTable(Table, frozen=True):
    """Another GGUF file for the embedded model; by default the one that is installed.

    `memory_mib` bounds the address space of its process; by default it is derived from the file.
    """

    model_file: str | None = None
    sha256: str | None = None
    threads: int | None = None
    memory_mib: int | None = None

    def __post_init__(self) -> None:
        require(
            (self.model_file is None) == (self.sha256 is None),
            "engine.model_file and engine.sha256 belong together",
        )
        require(self.threads is None or self.threads >= 1, "engine.threads must be at least 1")
        require(
            self.memory_mib is None or self.memory_mib >= MIN_ENGINE_MIB,
            f"engine.memory_mib must be at least {MIN_ENGINE_MIB}",
        )


class ModelTable(Table, frozen=True):
    """A model's name here, the upstream that serves it, its name there, and what it can do.

    `limits` are those of `enclave_server.chat.bounds`, where they differ from its defaults. What
    is left out is what its upstream's profile says, and what every model can.
    """

    name: str
    upstream: str
    upstream_name: str | None = None
    limits: dict[str, int] = msgspec.field(default_factory=dict)
    # Counts of tokens: what it reads, and what it writes at most.
    context_length: int | None = None
    output_limit: int | None = None
    tools: bool | None = None
    images: bool | None = None
    files: bool | None = None
    reasoning: bool | None = None
    structured_output: bool | None = None
    # It makes embeddings, and answers no chat.
    embeddings: bool | None = None
    # Fields beyond OpenAI's that may pass to it; see docs/models.md.
    sampling: tuple[SamplingName, ...] | None = None
    # How far `temperature` goes, and the levels of `reasoning_effort`.
    temperature: Range | None = None
    efforts: tuple[Effort, ...] | None = None
    # In which of Anthropic's words it is told how much to think; older models know budgets alone.
    thinking: Thinking | None = None
    # Who says instructions that stand between messages: the system, or the user; or nobody.
    later_instructions: LaterInstructions | None = None
    # Whether an answer to go on from may stand at the end.
    prefill: bool | None = None
    # Its provider fetches images from where they are, which tells who shows them.
    remote_images: bool | None = None
    # What can be done is done so that its provider shares no cache between requests.
    isolated_cache: bool | None = None
    # Where models are paid for: whether this one is not, or what a token of each price point buys.
    free: bool = False
    budgets: dict[str, BudgetTable] = msgspec.field(default_factory=dict)
    image_octets: int = IMAGE_OCTETS

    def __post_init__(self) -> None:
        for count in (self.context_length, self.output_limit):
            require(count is None or count > 0, "a model's counts of tokens must be positive")
        known = {field.name for field in dataclasses.fields(Bounds)}
        unknown = sorted(set(self.limits) - known)
        require(not unknown, f"a model has no limit {', '.join(unknown)}")
        Bounds(**self.limits)

    @property
    def abilities(self) -> dict[str, object]:
        """What is said of what it can do."""
        named = {"name", "upstream", "upstream_name", "limits", "free", "budgets", "image_octets"}
        said = msgspec.structs.asdict(self)
        return {
            name: value for name, value in said.items() if name not in named and value is not None
        }


class UpstreamTable(Table, frozen=True):
    """A server that has models: address, TLS name, dialect, and where its API key is found."""

    address: str
    host_name: str | None = None
    path_prefix: str = "/v1"
    dialect: str = DIALECT
    # By default that of the provider whose host_name it is; see docs/models.md.
    profile: str | None = None
    key_env: str | None = None
    key_file: str | None = None
    key_provisioned: bool = False
    ca_file: str | None = None
    connect_seconds: float = CONNECT_SECONDS
    # Of a stream 300 by default; an answer in one piece may take the whole time to begin.
    first_byte_seconds: float | None = None
    # Between two arrivals of a stream.
    idle_seconds: float = IDLE_SECONDS
    total_seconds: float = TOTAL_SECONDS

    def __post_init__(self) -> None:
        parse_address(self.address)
        require(
            (self.key_env is not None) + (self.key_file is not None) + self.key_provisioned <= 1,
            "an upstream takes one of key_env, key_file and key_provisioned",
        )
        times = (self.connect_seconds, self.idle_seconds, self.total_seconds)
        first = 1 if self.first_byte_seconds is None else self.first_byte_seconds
        # One by one: NaN compares as false, and `min` overlooks it.
        require(
            all(seconds > 0 for seconds in (*times, first)), "an upstream's times must be positive"
        )
        # Both go into a request's head as they are.
        require(_HOST_NAME.fullmatch(self.host_name or "a"), "an upstream's host_name is no name")
        require(_PATH.fullmatch(self.path_prefix), "an upstream's path_prefix is no path")


class ProvisionTable(Table, frozen=True):
    """Who may hand secrets to the running server: an Ed25519 public key in base64, or nobody."""

    administrator_key: str | None = None

    def __post_init__(self) -> None:
        if self.administrator_key is not None:
            require(
                len(_from_base64(self.administrator_key)) == ED25519_KEY_SIZE,
                "provision.administrator_key must be the base64 of 32 bytes",
            )
            administrator_key(_from_base64(self.administrator_key))

    @property
    def administrator(self) -> Ed25519PublicKey | None:
        """The key that signs what is provisioned, or None if nobody may provision."""
        if self.administrator_key is None:
            return None
        return administrator_key(_from_base64(self.administrator_key))


class ClusterTable(Table, frozen=True):
    """Whether this enclave shares keys with others of its kind, and where it meets them.

    `peers` are holes of the host's, each of which may lead to another enclave or nowhere.
    """

    enabled: bool = False
    listen: str = "vsock://any:8100"
    peers: tuple[str, ...] = ("vsock://3:8100",)
    # Registers that have to be equal: image, kernel, application, role. 8 is who signed the image.
    same: tuple[int, ...] = MEASURED_REGISTERS
    # From when every enclave has a key until clients are told of it: fronts learn of it meanwhile.
    route_seconds: float = 2
    join_seconds: float = 60

    def __post_init__(self) -> None:
        for address in (self.listen, *self.peers):
            parse_address(address)
        require(
            len(self.peers) <= MAX_PEERS, f"cluster.peers must be at most {MAX_PEERS} addresses"
        )
        require(
            set(MEASURED_REGISTERS) <= set(self.same) <= set(range(MAX_PCRS)),
            "cluster.same must hold 0, 1, 2 and 3, and registers below 32",
        )
        require(
            0 <= self.route_seconds <= MAX_ROUTE_SECONDS,
            f"cluster.route_seconds must be from 0 to {MAX_ROUTE_SECONDS}",
        )
        require(0 < self.join_seconds < math.inf, "cluster.join_seconds must be positive")


class Config(Table, frozen=True):
    """Everything that can be set; the defaults serve the embedded model."""

    server: ServerTable = ServerTable()
    limits: Limits = Limits()
    keys: KeysTable = KeysTable()
    replay: ReplayTable = ReplayTable()
    evidence: EvidenceTable = EvidenceTable()
    stream: StreamTable = StreamTable()
    chat: ChatTable = ChatTable()
    engine: EngineTable = EngineTable()
    models: tuple[ModelTable, ...] = (ModelTable(name=EMBEDDED_MODEL, upstream=EMBEDDED_UPSTREAM),)
    upstreams: dict[str, UpstreamTable] = msgspec.field(default_factory=dict)
    provision: ProvisionTable = ProvisionTable()
    cluster: ClusterTable = ClusterTable()
    tokens: TokensTable = TokensTable()

    def __post_init__(self) -> None:
        require(EMBEDDED_UPSTREAM not in self.upstreams, "the upstream name embedded is taken")
        known = {EMBEDDED_UPSTREAM, *self.upstreams}
        for model in self.models:
            require(
                model.upstream in known,
                f"model {model.name!r} names an upstream that is not configured",
            )
            require(
                model.upstream != EMBEDDED_UPSTREAM or not model.abilities,
                f"model {model.name!r} is embedded: what it can do is known",
            )
        names = [model.name for model in self.models]
        require(len(names) == len(set(names)), "two models have the same name")
        require(
            not self.provisioned_upstreams or self.provision.administrator_key is not None,
            "key_provisioned needs provision.administrator_key: nobody could hand the key over",
        )
        if self.tokens.required:
            self._check_payment()

    def _check_payment(self) -> None:
        tables = self.tariffs
        # Memory of one enclave: a token spent at one would be good at each of the others.
        require(
            not self.cluster.enabled or self.tokens.store == "redis",
            "tokens.store must be redis in a cluster: its enclaves have to know each other's spent",
        )
        is_paid = any(not of.is_free for of in tables.values())
        require(
            not (is_paid and self.chat.bare_json),
            "chat.bare_json has no place for a token: models that are paid for exclude it",
        )
        require(NULLIFIER_KEY not in self.upstreams, f"the upstream name {NULLIFIER_KEY} is taken")
        require(
            not self.tokens.nullifier_key_provisioned
            or self.provision.administrator_key is not None,
            "tokens.nullifier_key_provisioned needs provision.administrator_key",
        )
        self.tokens.catalogue(tables)
        self.tokens.lease(self._longest_answer(tables))

    def _longest_answer(self, tariffs: Mapping[str, Tariff]) -> float:
        """Return the seconds that an answer of a model that is paid for takes at the most."""
        paid = {model.upstream for model in self.models if not tariffs[model.name].is_free}
        times = [table.total_seconds for name, table in self.upstreams.items() if name in paid]
        return max([*times, *([TOTAL_SECONDS] if EMBEDDED_UPSTREAM in paid else [])], default=0)

    @property
    def tariffs(self) -> dict[str, Tariff]:
        """What each model costs, by its name; nothing where no tokens are required."""
        if not self.tokens.required:
            return {model.name: Tariff({}) for model in self.models}
        return {
            each.name: tariff(
                each.name, each.budgets, free=each.free, image_octets=each.image_octets
            )
            for each in self.models
        }

    @property
    def catalogue(self) -> Catalogue | None:
        """What clients are told of tokens; None where none are required."""
        return self.tokens.catalogue(self.tariffs) if self.tokens.required else None

    @property
    def lease_seconds(self) -> int:
        """For how long a token is held."""
        return self.tokens.lease(self._longest_answer(self.tariffs))

    @property
    def wanted_secrets(self) -> frozenset[str]:
        """The names of all that is handed to the running server."""
        is_wanted = self.tokens.required and self.tokens.nullifier_key_provisioned
        return self.provisioned_upstreams | ({NULLIFIER_KEY} if is_wanted else set())

    @property
    def provisioned_upstreams(self) -> frozenset[str]:
        """The upstreams whose keys are handed to the running server."""
        return frozenset(name for name, table in self.upstreams.items() if table.key_provisioned)

    @property
    def uses_engine(self) -> bool:
        """Whether any model is served by the embedded engine."""
        return any(model.upstream == EMBEDDED_UPSTREAM for model in self.models)


def parse_config(text: str) -> Config:
    """Return the configuration in `text`; raises ConfigError."""
    try:
        tables = tomllib.loads(text)
        _refuse_unknown_limits(tables)
        return msgspec.convert(_with_shorter_keys(tables), Config)
    except (ValueError, msgspec.ValidationError) as error:  # TOMLDecodeError is a ValueError
        raise ConfigError(str(error)) from error
    except RecursionError as error:
        raise ConfigError("its values nest too deeply") from error


def _with_shorter_keys(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables with a cluster's defaults for the life of keys, where nothing is said."""
    cluster, keys = tables.get("cluster"), tables.get("keys", {})
    is_cluster = isinstance(cluster, dict) and cluster.get("enabled") is True
    if not is_cluster or not isinstance(keys, dict):
        return tables
    # Many enclaves hold each key: a breach of one should not open a day of all.
    return {**tables, "keys": {**SHARED_KEYS, **keys}}


def load_config(path: str | None) -> Config:
    """Return the configuration in the file at `path`, or the defaults; raises ConfigError."""
    if path is None:
        return Config()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        sentence = f"cannot read the configuration file {path}: {error.strerror}"
        raise ConfigError(sentence) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
    try:
        return parse_config(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _refuse_unknown_limits(tables: dict[str, Any]) -> None:
    # `Limits` is a plain dataclass, whose unknown keys msgspec would skip.
    limits = tables.get("limits", {})
    known = {field.name for field in dataclasses.fields(Limits)}
    unknown = sorted(set(limits) - known) if isinstance(limits, dict) else []
    if unknown:
        raise ConfigError(f"Object contains unknown field `{unknown[0]}` - at `$.limits`")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
