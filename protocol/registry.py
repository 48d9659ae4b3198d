"""Names that IANA registers, as they are sent and compared: media types, problem types, a path."""

OHTTP_REQUEST = b"message/ohttp-req"
OHTTP_RESPONSE = b"message/ohttp-res"
OHTTP_KEYS = b"application/ohttp-keys"
"""RFC 9458, Section 9."""

CHUNKED_OHTTP_REQUEST = b"message/ohttp-chunked-req"
CHUNKED_OHTTP_RESPONSE = b"message/ohttp-chunked-res"
"""draft-ietf-ohai-chunked-ohttp-08, Section 8."""

JSON = b"application/json"
"""RFC 8259, Section 11."""

PROBLEM_JSON = b"application/problem+json"
"""Errors without a reason (RFC 9457, Section 6.1)."""

EVENT_STREAM = b"text/event-stream"
"""Server-sent events (WHATWG HTML, Section 9.2.5)."""

DATE_PROBLEM = "https://iana.org/assignments/http-problem-types#date"
"""The request's Date is outside of the window (RFC 9458, Section 6.5.2)."""

KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key"
"""The key configuration is not usable here (RFC 9458, Section 5.3)."""

BLANK_PROBLEM = "about:blank"
"""A problem that is no more than its status (RFC 9457, Section 4.2.1)."""

OHTTP_GATEWAY_PATH = b"/.well-known/ohttp-gateway"
"""Where a gateway takes requests and tells its keys (RFC 9540, Section 3)."""

TOKEN_ISSUER_DIRECTORY = b"application/private-token-issuer-directory"
TOKEN_REQUEST = b"application/private-token-request"
TOKEN_RESPONSE = b"application/private-token-response"
"""RFC 9578, Section 8.3."""

TOKEN_BATCH_REQUEST = b"application/private-token-generic-batch-request"
TOKEN_BATCH_RESPONSE = b"application/private-token-generic-batch-response"
"""draft-ietf-privacypass-batched-tokens-07."""

TOKEN_ISSUER_DIRECTORY_PATH = b"/.well-known/private-token-issuer-directory"
"""Where an issuer tells its keys (RFC 9578, Section 4)."""

INCREMENTAL = b"?1"
"""Of the Incremental field: hand this message on as it comes (draft-ietf-httpbis-incremental)."""


def media_type(value: bytes | None) -> bytes:
    """Return the media type in a Content-Type (RFC 9110, Section 8.3), without parameters."""
    return (value or b"").partition(b";")[0].strip(b" \t").lower()
