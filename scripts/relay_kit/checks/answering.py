"""What of the gateway's answers reaches the client."""

import asyncio

from scripts.relay_kit.bench import CHUNKED, Bench, require
from scripts.relay_kit.http1 import encode_head
from scripts.relay_kit.recording import ANSWER, Exchange, Script, echo

SETTLE_SECONDS = 0.5  # in which what follows an answer has followed it
PROBLEM = b'{"type":"https://iana.org/assignments/http-problem-types#ohttp-key"}'
STATUSES = (400, 413, 415, 422, 429, 503)

# What a gateway could use to make a client recognisable to it at its next visit.
MARKS = (
    ("Set-Cookie", "mark=1"),
    ("ETag", '"mark"'),
    ("Last-Modified", "Thu, 01 Jan 1970 00:00:01 GMT"),
    ("Alt-Svc", 'h3="mark.example.com:443"'),
    ("NEL", '{"report_to":"mark","max_age":1}'),
    ("Report-To", '{"group":"mark","max_age":1,"endpoints":[]}'),
    ("Accept-CH", "Sec-CH-UA-Model"),
    ("Link", "<https://mark.example.com/>; rel=preload"),
    ("Location", "https://mark.example.com/"),
    ("WWW-Authenticate", 'Basic realm="mark"'),
    ("X-Accel-Redirect", "/mark"),
)


async def errors_pass(bench: Bench) -> str:
    """The gateway's errors pass unchanged"""
    problem = ("Content-Type", "application/problem+json")

    def refusing(status: int) -> Script:
        async def refuse(exchange: Exchange) -> None:
            await exchange.read()
            await exchange.answer(status, PROBLEM, problem, ("Retry-After", "7"))

        return refuse

    for status in STATUSES:
        bench.gateway.script = refusing(status)
        answer = await bench.post(b"sealed")
        require(answer.status == status, f"{status} became {answer.status}")
        require(answer.body == PROBLEM, f"the body of a {status} was changed")
        require(answer.head.get("content-type") == problem[1], f"the type of a {status} changed")
        require(answer.head.get("retry-after") == "7", f"Retry-After of a {status} is missing")
    return " ".join(map(str, STATUSES))


async def marks_removed(bench: Bench) -> str:
    """Nothing by which a gateway could mark a client comes back"""

    async def marking(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(200, b"sealed", ANSWER, *MARKS)

    bench.gateway.script = marking
    answer = await bench.post(b"sealed")
    require(answer.body == b"sealed", "the answer is missing")
    names = {name.lower() for name, _ in MARKS}
    found = [name for name, value in answer.head.fields if name.lower() in names]
    require(not found, "came back: " + ", ".join(found))
    return "came back: " + ", ".join(name for name, _ in answer.head.fields)


async def truncation_shows(bench: Bench) -> str:
    """An answer that the gateway breaks off does not look complete"""

    async def cut_chunks(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, ANSWER)
        await exchange.piece(b"half")
        raise EOFError

    async def cut_length(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.send(encode_head("HTTP/1.1 200 OK", [ANSWER, ("Content-Length", "8")]))
        await exchange.send(b"half")
        raise EOFError

    for script in (cut_chunks, cut_length):
        bench.gateway.script = script
        answer = await bench.post(b"sealed", CHUNKED)
        require(not answer.whole or answer.status >= 500, "it came as a whole answer")
    return ""


async def sent_once(bench: Bench) -> str:
    """A request whose answer is lost is not sent again"""

    async def hang_up(exchange: Exchange) -> None:
        await exchange.read()
        raise EOFError

    for _ in range(2):
        bench.gateway.script = echo
        await bench.post(b"sealed")  # leaves a connection that a relay may use again
        before = len(bench.gateway.arrivals)
        bench.gateway.script = hang_up
        answer = await bench.post(b"sealed")
        await asyncio.sleep(SETTLE_SECONDS)
        count = len(bench.gateway.arrivals) - before
        require(count == 1, f"it arrived {count} times")
        require(answer.status in (0, 500, 502, 503, 504), f"answered with {answer.status}")
    return ""
