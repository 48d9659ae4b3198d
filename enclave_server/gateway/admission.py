"""Which opened requests are answered: in time, and once (RFC 9458, Section 6.5)."""

import time
from collections.abc import Callable
from dataclasses import replace

from enclave_server.gateway.replay import ReplayFilter, Verdict
from enclave_server.http.dates import format_date, parse_date
from enclave_server.keys.ring import KeySet
from protocol.binary_http import Request, Response
from protocol.gateway import problem
from protocol.registry import DATE_PROBLEM

RETRY_AFTER_SECONDS = 60
"""When the memory of requests is full: after this time a tenth of it will have expired."""


class Admission:
    """Refuses what is too old, too far ahead, or here for the second time.

    A request with a Date is remembered until its Date leaves the window, which may be twice the
    window from now. One without is remembered until its key has ended.
    """

    __slots__ = ("_clock", "_filter", "_keys", "_require_date", "_window")

    def __init__(
        self,
        replays: ReplayFilter,
        keys: Callable[[], KeySet],
        *,
        window: float,
        require_date: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._filter = replays
        self._keys = keys
        self._window = window
        self._require_date = require_date
        self._clock = clock

    def __call__(self, enc: bytes, key_id: int, request: Request) -> Response | None:
        """Return the refusal of a request, or None to let it through."""
        now = self._clock()
        until = self._until(request, key_id, now)
        if until is None:
            return _date_problem(now)
        match self._filter.insert(enc, until, now):
            case Verdict.NEW:
                return None
            case Verdict.EXPIRED:
                return _date_problem(now)
            case Verdict.REPEATED:
                return problem(409)
            case Verdict.FULL:
                return _with(problem(503), b"retry-after", b"%d" % RETRY_AFTER_SECONDS)

    def _until(self, request: Request, key_id: int, now: float) -> float | None:
        """Return the last moment at which this request could be accepted, None if it cannot be."""
        dates = [value for name, value in request.headers if name == b"date"]
        end_of_key = self._keys().end_of(key_id)
        if not dates and not self._require_date:
            return end_of_key
        date = parse_date(dates[0]) if len(dates) == 1 else None
        if date is None or abs(now - date) > self._window:
            return None
        return min(date + self._window, end_of_key)


def _date_problem(now: float) -> Response:
    # The date tells an honest client by how much its clock is wrong.
    return _with(problem(400, DATE_PROBLEM), b"date", format_date(now))


def _with(response: Response, name: bytes, value: bytes) -> Response:
    return replace(response, headers=(*response.headers, (name, value)))
