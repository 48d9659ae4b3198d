"""Provisioning: secrets for one boot of one enclave, signed by its administrator.

The content of `POST /v1/provision` is a JSON object of two members, both base64: `statement`, and
`signature`, which is Ed25519 (RFC 8032, Section 5.1) over LABEL ‖ statement. The statement is a
JSON object of exactly these members:

    keys       the API key of each upstream, by the upstream's name
    settings   account settings of upstreams, by name: `organization` and `project` of OpenAI;
               `access_key_id`, `session_token` and `region` of Amazon, where the key is the secret
               that belongs to that identifier
    tee_id     the enclave that they are for
    timestamp  when they were signed, in Unix seconds

The `tee_id` names one boot: the key behind it is made at the start of an enclave and never leaves
it. So a statement that somebody kept is worth nothing to another enclave, nor to the next boot.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import strict_json
from protocol.errors import MalformedMessage, SignatureInvalid

PATH = b"/v1/provision"
"""Where an enclave takes secrets; inner requests only."""

LABEL = b"oblivious-inference provisioning 1\0"
"""No other signature of the same key can be taken for one over a statement."""

MAX_CONTENT_BYTES = 32 * 1024
"""A hundred keys, several times as long as any provider's."""

KEY_BYTES = 32
SETTINGS = frozenset({"organization", "project", "access_key_id", "session_token", "region"})

_Y_BITS = (1 << 255) - 1
_FIELD = (1 << 255) - 19
# RFC 8032, Section 8.9, leaves points of small order to the verifier: under such a key anybody
# can sign. They are 0, ±1 and the two below; a forgotten placeholder of zeros is among them.
_ORDER_EIGHT = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _FIELD - 1, _ORDER_EIGHT, _FIELD - _ORDER_EIGHT})


@dataclass(frozen=True, slots=True)
class Secrets:
    """API keys and account settings by the names of their upstreams; never printed.

    ValueError, without the value, for what no HTTP field can carry or for an unknown setting.
    """

    keys: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, key in self.keys.items():
            _require_value(f"the key of {name!r}", key)
        for name, account in self.settings.items():
            for setting, value in account.items():
                if setting not in SETTINGS:
                    known = ", ".join(sorted(SETTINGS))
                    raise ValueError(f"the settings of {name!r} can be {known}, not {setting!r}")
                _require_value(f"the {setting} of {name!r}", value)


def administrator_key(raw: bytes) -> Ed25519PublicKey:
    """Return the public key in 32 bytes; ValueError for one under which anybody can sign."""
    if len(raw) != KEY_BYTES:
        raise ValueError("an Ed25519 public key has 32 bytes")
    if (int.from_bytes(raw, "little") & _Y_BITS) % _FIELD in _SMALL_ORDER:
        raise ValueError("under this public key anybody can sign: is it a placeholder?")
    return Ed25519PublicKey.from_public_bytes(raw)


def sign_secrets(
    private_key: Ed25519PrivateKey, secrets: Secrets, *, tee_id: str, timestamp: int
) -> bytes:
    """Return the content that hands `secrets` to the enclave `tee_id`; ValueError if too long."""
    statement = _encode(
        {
            "keys": dict(secrets.keys),
            "settings": {name: dict(account) for name, account in secrets.settings.items()},
            "tee_id": tee_id,
            "timestamp": timestamp,
        }
    )
    content = _encode(
        {
            "statement": base64.b64encode(statement).decode(),
            "signature": base64.b64encode(private_key.sign(LABEL + statement)).decode(),
        }
    )
    if len(content) > MAX_CONTENT_BYTES:
        raise ValueError(f"the secrets are longer than an enclave takes ({MAX_CONTENT_BYTES})")
    return content


def open_secrets(
    content: bytes, administrator: Ed25519PublicKey, *, tee_id: str, now: float, window: float
) -> Secrets:
    """Return the secrets that `administrator` signed for the enclave `tee_id` around `now`.

    MalformedMessage for what is no statement; SignatureInvalid for one that somebody else signed,
    or for another enclave, or more than `window` seconds from now.
    """
    members = strict_json.decode_members(content, {"statement", "signature"})
    statement = strict_json.decode_base64(members["statement"])
    try:
        administrator.verify(strict_json.decode_base64(members["signature"]), LABEL + statement)
    except InvalidSignature:
        raise SignatureInvalid("not the administrator's signature") from None
    # Nothing in a statement is looked at before its signature holds.
    members = strict_json.decode_members(statement, {"keys", "settings", "tee_id", "timestamp"})
    if members["tee_id"] != tee_id:
        raise SignatureInvalid("signed for another enclave")
    timestamp = members["timestamp"]
    # The range first: an integer of any length is JSON, and no float.
    if type(timestamp) is not int or not 0 <= timestamp < 1 << 63:
        raise MalformedMessage("the timestamp is no time in Unix seconds")
    if abs(now - timestamp) > window:
        raise SignatureInvalid("signed at another time")
    return _secrets(members["keys"], members["settings"])


def _secrets(keys: object, settings: object) -> Secrets:
    if not isinstance(settings, dict):
        raise MalformedMessage("the settings are no table")
    try:
        return Secrets(_texts(keys), {name: _texts(table) for name, table in settings.items()})
    except ValueError as error:
        raise MalformedMessage(str(error)) from None


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise MalformedMessage("not a table of texts")
    return value


def _require_value(what: str, value: str) -> None:
    # It becomes part of an HTTP field, in which a line end would begin another one.
    if not value or not all("!" <= character <= "~" for character in value):
        raise ValueError(f"{what} is empty, or has other characters than printable ASCII")


def _encode(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")
