"""Key configurations and lists of them: what is read is written, and reads back."""

from protocol import key_config
from protocol.encapsulation import GatewayKey, encapsulate_request
from protocol.errors import MalformedMessage
from protocol.kem import KEMS, find_kem
from protocol.key_config import KeyConfig
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Refused, attempt
from tests.support.vector_files import load

MAX_BYTES = 4096

FAULTS = (
    slips("protocol.key_config._identifiers", MalformedMessage),
    returns("protocol.key_config._algorithms", lambda found: found[:1]),
    returns("protocol.key_config.decode_key_configs", lambda found: found[1:]),
)


def seeds() -> list[bytes]:
    """Return the published configurations, alone and in lists."""
    single = [bytes.fromhex(case["hex"]) for case in load("key-configs.json")["cases"]]
    ours = [GatewayKey(1, bytes(range(32)), kem=kem).config for kem in KEMS.values()]
    listed = [len(each).to_bytes(2, "big") + each for each in single]
    unknown = (7).to_bytes(2, "big") + b"\x01\x12\x34rest"
    return [*single, *listed, key_config.encode_key_configs([*ours, *ours]), unknown + listed[0]]


def run(data: bytes) -> None:
    """Read `data` as one configuration, as a list, and as one in a list."""
    single = attempt(KeyConfig.decode, data)
    if not isinstance(single, Refused):
        assert single.encode() == data
    listed = attempt(key_config.decode_key_configs, len(data).to_bytes(2, "big") + data)
    if not isinstance(single, Refused):
        assert listed == [single]
    found = attempt(key_config.decode_key_configs, data)
    if isinstance(found, Refused):
        return
    for config in found:
        attempt(encapsulate_request, config, b"asked")
    written = key_config.encode_key_configs(found)
    assert key_config.decode_key_configs(written) == found
    assert len(written) <= len(data)
    # Those of other mechanisms are passed over, and nothing else is.
    assert written == data or _has_unknown(data)


def _has_unknown(data: bytes) -> bool:
    while data:
        size = 2 + int.from_bytes(data[:2], "big")
        if find_kem(int.from_bytes(data[3:5], "big")) is None:
            return True
        data = data[size:]
    return False
