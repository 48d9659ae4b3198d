"""What a user may be told when a part of the path has failed: a closed list for each fault.

Whoever is told to check an address that is right, or to change anything else that is, is told the
wrong thing: the faults here pass by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_CUT = (
    r"the answer broke off before its end: somebody on the way or the network cut it; "
    r"what came is not all: ask again"
)
_BEHIND = (
    r".* answered 50[234].*: the relay answers, but (?:"
    r"does not reach its gateway, which is down or has moved: try again later|"
    r"has no way to its gateway at the moment, or is full: try again shortly|"
    r"its gateway says nothing in time: try again later)"
)
_FULL = r".* answered 503.*: the gateway is full or starting; try again shortly"
_KEY = (
    r".* answered 422.*: the gateway does not know the attested key even after fetching it anew; "
    r"try later"
)
_OFTEN = r".* answered 429.*: the relay limits how often you may ask; try later"
_GONE = (
    r"(?:no connection|the connection was lost): (?:.*: )?"
    r"(?:the relay has answered before:|if \S+ is right,) "
    r"it, or your network, is down for now: try again shortly"
)
_LATE = r"no answer in time: the relay or gateway is down or overloaded; try again"
_MODEL = (
    r"the service answered 50[0234]: The model.*: the way to the service works, and its model "
    r"does not for now: ask again shortly"
)
# By `serve`, to programs that know OpenAI's errors; in a stream with what to do.
_PASSED_ON = rf"passed on 50[234]: (?:The model.*|{_MODEL})"

RIGHT = {
    "engine": (_MODEL, _PASSED_ON),
    "engine stopped": (_MODEL, _PASSED_ON, _LATE),
    "worker": (_CUT, _BEHIND),
    "worker stopped": (_CUT, _BEHIND, _LATE),
    "server": (_CUT, _BEHIND, _FULL, _KEY, _OFTEN, _MODEL, _PASSED_ON),
    "proxy": (_CUT, _BEHIND),
    "relay": (_CUT, _GONE),
    "upstream": (_MODEL, _PASSED_ON),
}
EVERY_SENTENCE = tuple(dict.fromkeys(each for those in RIGHT.values() for each in those))


def is_right(said: str, faults: Sequence[str]) -> bool:
    """Whether what a user was told is one of the sentences for the faults of that time.

    Without a fault any of them will do: that it failed at all is counted apart.
    """
    allowed = [each for fault in faults for each in RIGHT[fault]] or EVERY_SENTENCE
    return any(re.fullmatch(each, said) for each in allowed)
