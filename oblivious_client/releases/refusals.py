"""Why a list of releases is refused, for programs; the text of the error is for people."""

from __future__ import annotations

import enum

from protocol.errors import ProtocolError


class ListFault(enum.Enum):
    """What is wrong with a list."""

    MALFORMED = "malformed"
    LATER_KIND = "later-kind"
    ORIGIN = "origin"
    ROOT = "root"
    LOG = "log"
    WITNESSES = "witnesses"
    CHANGE = "change"


class ListRefused(ProtocolError):
    """A list of releases does not verify."""

    def __init__(self, fault: ListFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
