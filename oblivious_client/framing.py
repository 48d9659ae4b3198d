"""How a sealed request is framed: whole (RFC 9458) or chunked (its chunked successor)."""

from __future__ import annotations

import enum

from protocol.registry import (
    CHUNKED_OHTTP_REQUEST,
    CHUNKED_OHTTP_RESPONSE,
    OHTTP_REQUEST,
    OHTTP_RESPONSE,
)


class Framing(enum.Enum):
    """How a request is framed; chunked hides whether the answer streams."""

    CHUNKED = "chunked"
    WHOLE = "whole"

    @property
    def request_type(self) -> str:
        """The media type of sealed requests."""
        return (CHUNKED_OHTTP_REQUEST if self is Framing.CHUNKED else OHTTP_REQUEST).decode()

    @property
    def response_type(self) -> str:
        """The media type of sealed answers."""
        return (CHUNKED_OHTTP_RESPONSE if self is Framing.CHUNKED else OHTTP_RESPONSE).decode()
