"""What of a request reaches the gateway (RFC 9458, Section 6.2)."""

import re
from contextlib import suppress

from scripts.relay_kit.bench import CHUNKED, WHOLE, Bench, receive, require
from scripts.relay_kit.recording import ANSWER

# What may arrive at a gateway: the body's type and framing, and what HTTP itself needs.
NEEDED = {"host", "connection", "content-type", "content-length", "transfer-encoding"}
NEEDED |= {"incremental"}

# What tells people apart, with values that are searched for in all that arrives.
PERSONAL = (
    ("User-Agent", "canary-agent/1.0"),
    ("Cookie", "session=canary"),
    ("Authorization", "Bearer canary"),
    ("Proxy-Authorization", "Basic canary"),
    ("X-Forwarded-For", "203.0.113.77"),
    ("X-Real-IP", "203.0.113.77"),
    ("Forwarded", "for=203.0.113.77"),
    ("Via", "1.1 canary"),
    ("From", "canary@example.com"),
    ("Referer", "https://canary.example.com/"),
    ("Origin", "https://canary.example.com"),
    ("Accept", "text/canary"),
    ("Accept-Language", "x-canary"),
    ("Accept-Encoding", "canary"),
    ("Content-Language", "x-canary"),
    ("Content-Disposition", 'attachment; filename="canary"'),
    ("If-None-Match", '"canary"'),
    ("Sec-CH-UA", '"canary"'),
    ("X-Request-ID", "canary"),
    ("traceparent", "00-canary"),
    ("X-Canary", "canary"),
)
CANARY = re.compile(rb"canary|203\.0\.113\.77", re.IGNORECASE)


async def body_unchanged(bench: Bench) -> str:
    """A sealed body and its answer arrive unchanged"""
    body = bytes(range(256)) * 5
    for kind in (WHOLE, CHUNKED):
        answer = await bench.post(body, kind)
        require(answer.status == 200, f"status {answer.status} instead of 200 for {kind}")
        require(answer.body == body, f"the answer's body differs for {kind}")
        require(answer.head.get("content-type") == ANSWER[1], "the answer's media type differs")
        require(bench.last().request.get("content-type") == kind, "the media type differs")
    bench.resource = bench.last().target
    return f"POST {bench.resource}"


async def only_needed_fields(bench: Bench) -> str:
    """Only the media type and the framing go with it"""
    await bench.post(b"sealed", WHOLE, PERSONAL)
    names = [name for name, _ in bench.last().request.fields]
    extra = [name for name in names if name.lower() not in NEEDED]
    require(not extra, "also arrived: " + ", ".join(extra))
    return ", ".join(names)


async def nothing_personal(bench: Bench) -> str:
    """Nothing a client adds arrives: fields, query, media type parameters, trailers"""
    path = f"{bench.target.path}?canary=1"
    await bench.ask("POST", path, [("Content-Type", WHOLE), *PERSONAL], b"sealed")
    await bench.post(b"sealed", f"{WHOLE}; canary=1")
    call = await bench.open_upload()
    with suppress(EOFError, OSError):  # a relay may take trailers for a reason to hang up
        await call.send(b"sealed", b"canary=1")
        await call.end([("X-Canary", "canary")])
        await receive(call)
    call.close()
    require(not bench.gateway.failures, "; ".join(bench.gateway.failures))
    for exchange in bench.gateway.arrivals:
        found = CANARY.search(exchange.seen)
        require(not found, f"arrived: {bytes(exchange.seen)!r}")
    return f"{len(PERSONAL)} fields tried"


async def address_hidden(bench: Bench) -> str:
    """The client's address and port do not arrive"""
    fields = [("Content-Type", WHOLE), ("Content-Length", "6")]
    call = await bench.begin("POST", bench.target.path, fields)
    await call.send(b"sealed")
    await call.end()
    await receive(call)
    name = call.address
    call.close()
    own = [str(part) for part in name[:2]] if isinstance(name, tuple) else []
    values = [v for n, v in bench.last().request.fields if n.lower() != "host"]
    for part in own:
        found = [v for v in values if re.search(rf"(?<![\w.]){re.escape(part)}(?![\w.])", v)]
        require(not found, f"{part} arrived in {found}")
    return ""


async def clients_alike(bench: Bench) -> str:
    """Two different clients leave identical requests"""
    await bench.post(b"sealed")
    first = bench.last().request.raw
    await bench.post(b"sealed", WHOLE.upper(), [*PERSONAL, ("Connection", "close")])
    if bench.last().request.raw == first:
        return f"{len(first)} bytes of head, equal"
    # A relay may insist on lower case; then the second client is one that differs less.
    await bench.post(b"sealed", WHOLE, [*PERSONAL, ("Connection", "close")])
    second = bench.last().request.raw
    require(second == first, f"{first!r} and {second!r}")
    return f"{len(first)} bytes of head, equal"
