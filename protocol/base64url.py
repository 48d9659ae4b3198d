"""base64url with its padding (RFC 4648, Section 5), of which each value has one encoding."""

import base64
import binascii

from protocol.errors import MalformedMessage

# What stands for 62 and 63 in the other alphabet is in none after this.
_STANDARD = bytes.maketrans(b"-_+/", b"+/..")


def encode(data: bytes) -> bytes:
    """Return the encoding of `data`."""
    return base64.urlsafe_b64encode(data)


def decode(text: bytes) -> bytes:
    """Return the octets whose encoding is exactly `text`; else MalformedMessage."""
    try:
        data = binascii.a2b_base64(text.translate(_STANDARD), strict_mode=True)
    except binascii.Error:
        raise MalformedMessage("not base64url") from None
    # RFC 4648, Section 3.5: bits that pad the last octet are zero, else one token has many forms.
    if text.endswith(b"=") and encode(data) != text:
        raise MalformedMessage("not the one encoding in base64url")
    return data
