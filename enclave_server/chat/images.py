"""Images inside their URLs (RFC 2397): media type and octets, which have to agree."""

import base64
import binascii
import re

import msgspec

from enclave_server.chat.errors import invalid

SCHEME = "data:"

# A media type, and nothing but base64: what else RFC 2397 allows no program sends.
_INLINE = re.compile(r"(?i:data:(image/[a-z0-9.+-]{1,64});base64,)([A-Za-z0-9+/]+={0,2})\Z")

# Not registered, and common.
_ALIASES = {"image/jpg": "image/jpeg"}

# With what octets such a file begins; of WebP, where the length stands between the two.
_SIGNATURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n", b""),
    "image/jpeg": (b"\xff\xd8\xff", b""),
    "image/gif": (b"GIF8", b""),
    "image/webp": (b"RIFF", b"WEBP"),
}
_HEAD_OCTETS = 12
_PDF = b"%PDF-"

MEDIA_TYPES = tuple(_SIGNATURES)


class InlineImage(msgspec.Struct, frozen=True):
    """An image's media type, and its octets in base64."""

    media_type: str
    data_base64: str

    @property
    def url(self) -> str:
        """The one URL that says this."""
        return f"data:{self.media_type};base64,{self.data_base64}"


def inline(url: str) -> InlineImage | None:
    """Return the image inside of `url`; None if it is elsewhere, or not what the URL says."""
    found = _INLINE.match(url)
    if found is None:
        return None
    named, data = found[1].lower(), found[2]
    media_type = _ALIASES.get(named, named)
    begin, after = _SIGNATURES.get(media_type, (b"", None))
    head = _head(data)
    if after is None or head is None or not head.startswith(begin) or not head.endswith(after):
        return None
    return InlineImage(media_type, data)


def checked_url(url: str, place: str) -> str:
    """Return the URL of an image at `place` of a request; raises ChatError 400 if it is none."""
    if url[: len(SCHEME)].lower() != SCHEME:
        return url
    image = inline(url)
    if image is None:
        kinds = ", ".join(name.removeprefix("image/") for name in MEDIA_TYPES)
        message = f"'{place}' is no image in base64 of the kind that it says, one of {kinds}."
        raise invalid(message, place, "invalid_image")
    return url if url.startswith(f"{SCHEME}{image.media_type};") else image.url


def checked_pdf(data: str, place: str) -> str:
    """Return `data`, the base64 of a PDF at `place` of a request; raises ChatError 400 if not."""
    head = _head(data)
    if head is None or not head.startswith(_PDF):
        raise invalid(f"'{place}' is no PDF in base64.", place, "invalid_file")
    return data


def _head(data: str) -> bytes | None:
    """Return the first octets of what `data` is the base64 of; None if there is less, or no end."""
    if len(data) % 4 or len(data) < 4 * _HEAD_OCTETS // 3:
        return None
    try:
        return base64.b64decode(data[: 4 * _HEAD_OCTETS // 3], validate=True)
    except binascii.Error:
        return None
