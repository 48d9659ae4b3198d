"""Dates of HTTP fields in their one form that is still written (RFC 9110, Section 5.6.7)."""

import calendar
import functools
import re
import time
from collections.abc import Callable

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (
    *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
    *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
)
_IMF_FIXDATE = re.compile(
    rb"(?:" + rb"|".join(_DAYS) + rb"), "
    rb"([0-9]{2}) (" + rb"|".join(_MONTHS) + rb") ([0-9]{4}) "
    rb"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60) GMT"
)


_SIZE = len(b"Sun, 06 Nov 1994 08:49:37 GMT")


def parse_date(value: bytes) -> int | None:
    """Return the Unix seconds of an IMF-fixdate; None for anything else."""
    if len(value) != _SIZE:
        return None
    try:
        return _parse(value)
    except ValueError:
        return None


# Requests of one second carry the same date: keeping it saves 3 microseconds each. What is no
# date raises, and so is not kept.
@functools.lru_cache(maxsize=256)
def _parse(value: bytes) -> int:
    match = _IMF_FIXDATE.fullmatch(value)
    if match is None:
        raise ValueError
    day, month, year, hour, minute, second = match.groups()
    number = _MONTHS.index(month) + 1
    if not 1 <= int(day) <= 31 or int(year) < 1970:
        raise ValueError
    moment = (int(year), number, int(day), int(hour), int(minute), int(second))
    return calendar.timegm(moment)


def format_date(seconds: float) -> bytes:
    """Return the IMF-fixdate of `seconds` (Unix time)."""
    moment = time.gmtime(seconds)
    day, month = _DAYS[moment.tm_wday], _MONTHS[moment.tm_mon - 1]
    date = b"%s, %02d %s %04d" % (day, moment.tm_mday, month, moment.tm_year)
    return date + b" %02d:%02d:%02d GMT" % (moment.tm_hour, moment.tm_min, moment.tm_sec)


class CurrentDate:
    """The Date field value of this moment (RFC 9110, Section 6.6.1), made once a second."""

    __slots__ = ("_clock", "_second", "_value")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns Unix seconds."""
        self._clock = clock
        self._second: int | None = None
        self._value = b""

    def value(self) -> bytes:
        """Return the IMF-fixdate."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._value = format_date(second)
        return self._value
