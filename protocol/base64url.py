"""base64url with its padding (RFC 4648, Section 5), of which each value has one encoding."""

import base64
import binascii

from protocol.errors import MalformedMessage


def encode(data: bytes) -> bytes:
    """Return the encoding of `data`."""
    return base64.urlsafe_b64encode(data)


def decode(text: bytes) -> bytes:
    """Return the octets whose encoding is exactly `text`; else MalformedMessage."""
    try:
        data = base64.urlsafe_b64decode(text)
    except binascii.Error:
        raise MalformedMessage("not base64url") from None
    # RFC 4648, Section 3.5: bits that pad the last octet are zero, else one token has many forms.
    # Characters outside of the alphabet, which are passed over, are not in the encoding either.
    if encode(data) != text:
        raise MalformedMessage("not the one encoding in base64url")
    return data
