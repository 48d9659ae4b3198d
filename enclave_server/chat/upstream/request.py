"""Requests to upstreams as octets (RFC 9112, Section 3), without I/O."""

from protocol.binary_http import Fields


def encode_post(target: bytes, fields: Fields, body: bytes) -> bytes:
    """Return a POST with its Content-Length, which `fields` do not say.

    Raises ValueError if the target or a field would end its line, and so begin another.
    """
    if b" " in target:
        raise ValueError("a target contains a space")
    lines = [b"POST %b HTTP/1.1" % target, *(b"%b: %b" % field for field in fields)]
    lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines)
    if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines) or b"\0" in head:
        raise ValueError("a target or a field contains a line end or NUL")
    return head + b"\r\n\r\n" + body
