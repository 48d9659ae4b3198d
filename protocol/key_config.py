"""Key configurations (RFC 9458, Section 3)."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from protocol.errors import MalformedMessage
from protocol.kem import find_kem

_ALGORITHM_SIZE = 4
_FIXED_SIZE = 3  # key identifier and KEM identifier
_UINT16 = 0xFFFF


class SymmetricAlgorithm(NamedTuple):
    """A KDF and an AEAD, by the code points of RFC 9180, that a gateway takes together."""

    kdf_id: int
    aead_id: int


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """One key configuration (RFC 9458, Section 3.1); `public_key` as its KEM serializes it."""

    key_id: int
    kem_id: int
    public_key: bytes
    symmetric_algorithms: Sequence[tuple[int, int]]

    def __post_init__(self) -> None:
        algorithms = tuple(SymmetricAlgorithm(*pair) for pair in self.symmetric_algorithms)
        object.__setattr__(self, "symmetric_algorithms", algorithms)
        object.__setattr__(self, "public_key", bytes(self.public_key))
        if not 0 <= self.key_id <= 0xFF or not 0 <= self.kem_id <= _UINT16:
            raise ValueError("identifier out of range")
        if not 0 < len(algorithms) * _ALGORITHM_SIZE <= _UINT16:
            raise ValueError("a configuration needs 1 to 16383 symmetric algorithms")
        if not all(0 <= identifier <= _UINT16 for pair in algorithms for identifier in pair):
            raise ValueError("identifier out of range")
        kem = find_kem(self.kem_id)
        if kem is not None and len(self.public_key) != kem.public_key_size:
            raise ValueError("public key has the wrong size")

    def encode(self) -> bytes:
        """Return the configuration's bytes, without a length before them."""
        algorithms = b"".join(struct.pack("!HH", *pair) for pair in self.symmetric_algorithms)
        head = struct.pack("!BH", self.key_id, self.kem_id)
        return head + self.public_key + struct.pack("!H", len(algorithms)) + algorithms

    @classmethod
    def decode(cls, data: bytes) -> "KeyConfig":
        """Return the configuration that `data` is, whole; MalformedMessage if it is not one."""
        key_id, kem_id = _identifiers(data)
        # The size of a public key follows from the KEM alone, so that nothing can be read after
        # the identifier of an unknown one.
        kem = find_kem(kem_id)
        if kem is None:
            raise MalformedMessage("KEM is not known")
        key_end = _FIXED_SIZE + kem.public_key_size
        algorithms = _algorithms(data[key_end:])
        return cls(key_id, kem_id, data[_FIXED_SIZE:key_end], algorithms)


def encode_key_configs(configs: Iterable[KeyConfig]) -> bytes:
    """Return an application/ohttp-keys document (RFC 9458, Section 3.2)."""
    encoded = [config.encode() for config in configs]
    return b"".join(struct.pack("!H", len(config)) + config for config in encoded)


def decode_key_configs(data: bytes) -> list[KeyConfig]:
    """Return the configurations of an application/ohttp-keys document that have a known KEM."""
    configs = []
    offset = 0
    while offset < len(data):
        start = offset + 2
        offset = start + int.from_bytes(data[offset:start], "big")
        if start > len(data) or offset > len(data):
            raise MalformedMessage("configuration shorter than its length")
        # RFC 9458, Section 3.2: the length lets a client skip what it does not know.
        if find_kem(_identifiers(data[start:offset])[1]) is not None:
            configs.append(KeyConfig.decode(data[start:offset]))
    return configs


def _identifiers(data: bytes) -> tuple[int, int]:
    if len(data) < _FIXED_SIZE:
        raise MalformedMessage("configuration is too short")
    key_id, kem_id = struct.unpack_from("!BH", data)
    return key_id, kem_id


def _algorithms(data: bytes) -> tuple[SymmetricAlgorithm, ...]:
    if len(data) < 2:
        raise MalformedMessage("configuration is too short")
    size = int.from_bytes(data[:2], "big")
    # RFC 9458, Section 3.1: HKDF Symmetric Algorithms Length is 4 to 65532, in pairs.
    if size == 0 or size % _ALGORITHM_SIZE or len(data) != 2 + size:
        raise MalformedMessage("symmetric algorithms do not fill their length")
    return tuple(SymmetricAlgorithm(*pair) for pair in struct.iter_unpack("!HH", data[2:]))
