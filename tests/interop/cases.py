"""What a driver is asked to ask, as its line of JSON has it."""

from email.utils import formatdate

from tests.interop.cells import Cell

AUTHORITY = "gateway.example"


def case(cell: Cell, relay: str, keys: bytes, path: str, content: bytes) -> dict[str, object]:
    """Return a case: a POST of `content`, dated now, in the cell's framing and form."""
    media_type = "application/json" if content[:1] == b"{" else "application/octet-stream"
    return {
        "url": relay + "/",
        "keys": keys.hex(),
        "delivery": cell.framing.value,
        "form": cell.form.value,
        "request": {
            "method": "POST",
            "scheme": "https",
            "authority": AUTHORITY,
            "path": path,
            "headers": [("content-type", media_type), ("date", formatdate(usegmt=True))],
            "content": content.hex(),
        },
    }
