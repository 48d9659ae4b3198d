"""Addresses of server, host proxy and client: written as read, and by all who read one alike."""

from enclave_server import addresses as enclave
from host_proxy import addresses as proxy
from host_proxy.addresses import AddressError
from oblivious_client.endpoint import Endpoint, Role, is_loopback
from oblivious_client.errors import UsageError
from oblivious_client.local.listening import read_place
from tests.fuzz.faults import fails, returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.host_proxy.test_addresses import BAD, GOOD

MAX_BYTES = 8192
attempt = Attempt(ValueError)
attempt_proxy = Attempt(AddressError)
attempt_endpoint = Attempt(UsageError)

FAULTS = (
    slips("host_proxy.addresses._number", AddressError),
    returns("host_proxy.addresses.Tcp.__str__", lambda text: text.replace(":", "")),
    returns("enclave_server.addresses.VsockAddress.__str__", lambda text: text + "0"),
    fails("oblivious_client.endpoint._can_be_looked_up"),
    returns("oblivious_client.endpoint._can_be_looked_up", lambda found: True),
)


def seeds() -> list[bytes]:
    """Return good addresses and bad ones, and URLs."""
    urls = [
        "https://relay.example/path?query#part",
        "http://[::1]:8080",
        "http://xn--a/",
        "https://ü.example",
        "http://a..b",
        "https://u:p@h",
        "http://" + "a" * 64,
        "unix:/run/x",
        "http://a:99999",
        "tcp://a]:80",
        "tcp://[a:80",
        "tcp://a\tb:80",
        "tcp://a:" + "9" * 5000,
        "vsock://" + "0" * 5000 + "3:80",
    ]
    return [text.encode() for text in (*GOOD, *BAD, *urls)]


def run(data: bytes) -> None:
    """Read an address in all three ways."""
    text = data.decode(errors="surrogateescape")  # as arguments of a program come
    ours, theirs = attempt(enclave.parse_address, text), attempt_proxy(proxy.parse, text)
    assert isinstance(ours, Refused) or enclave.parse_address(str(ours)) == ours
    assert isinstance(theirs, Refused) or proxy.parse(str(theirs)) == theirs
    if not isinstance(ours, Refused) and not isinstance(theirs, Refused):
        assert str(ours) == str(theirs)
    _check_endpoint(text)
    place = attempt_endpoint(read_place, text.removeprefix("tcp://"))
    if not isinstance(place, Refused):
        assert place.is_here is is_loopback(place.hosts[0])
        assert 0 <= place.port < 1 << 16
        assert place.url(place.port).startswith("http://")


def _check_endpoint(text: str) -> None:
    found = attempt_endpoint(Endpoint.parse, Role.RELAY, text)
    if isinstance(found, Refused):
        return
    assert found.resource.scheme in ("http", "https")
    assert found.evidence(b"nonce").path == "/v1/attestation"
    assert found.keys.host == found.url.host
    assert str(found)
    assert found.url.raw_host.decode("ascii").encode("idna")  # as the system's look-up does
    assert found.is_protected in (True, False)
    again = Endpoint.parse(Role.RELAY, str(found.url))
    assert found.socket_path is not None or again == found
