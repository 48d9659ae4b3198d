"""HTTP dates and freshness: one form is read, as the standard library reads it; garbage is none."""

from email.utils import parsedate_to_datetime

import httpx

from enclave_server.http import dates
from oblivious_client import fetching
from tests.fuzz.faults import fails, returns, slips
from tests.fuzz.reading import Octets

NOW = 1_800_000_000.0

FAULTS = (
    slips("enclave_server.http.dates._parse"),
    returns("enclave_server.http.dates.format_date", lambda value: value.lower()),
    fails("oblivious_client.fetching._seconds"),
    slips("oblivious_client.fetching.parsedate_to_datetime"),
)


def seeds() -> list[bytes]:
    """Return dates in several forms, and fields of caches."""
    values = [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Tue, 29 Feb 2028 23:59:60 GMT",
        b"Mon, 31 Feb 1970 00:00:00 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Mon, 01 Jan 99999999999999 00:00:00 GMT",
        b"Mon, 01 Jan 2024 00:00:00 +9999999999999999",
        b"\x01max-age=60, no-store",
        b"\x02 5",
    ]
    return [value if value[0] < 32 else b"\0" + value for value in values]


def run(data: bytes) -> None:
    """Read `data` as the value of a field, at the server and at the client."""
    octets = Octets(data)
    name, value = octets.one_of([b"date", b"cache-control", b"age"]), octets.rest()
    _check_date(value)
    fields = [(name, value), (b"cache-control", b"max-age=60"), (b"date", b"now")]
    for count in (1, 2, 3):
        headers = httpx.Headers(fields[:count])
        assert fetching.freshness(headers) >= 0
        kept = fetching.kept_seconds(headers, now=NOW)
        assert kept is None or kept >= 0


def _check_date(value: bytes) -> None:
    found = dates.parse_date(value)
    if found is None:
        return
    assert 0 <= found < 253402387260
    again = dates.format_date(found)
    assert dates.parse_date(again) == found
    if value[-6:-4] != b"60" and value[5:7] <= b"28":  # which few months have not
        assert parsedate_to_datetime(value.decode()).timestamp() == found
        assert again[5:] == value[5:]
