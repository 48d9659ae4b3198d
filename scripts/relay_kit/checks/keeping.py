"""That one copy of keys and evidence serves everybody (RFC 9458, Section 7)."""

import asyncio
import time

from scripts.relay_kit.bench import Answer, Bench, require
from scripts.relay_kit.checks.answering import MARKS, SETTLE_SECONDS
from scripts.relay_kit.checks.passing_on import NEEDED, PERSONAL
from scripts.relay_kit.http1 import Fields
from scripts.relay_kit.recording import Exchange

KEYS = "/.well-known/ohttp-gateway"
EVIDENCE = "/v1/attestation"
RELEASES = "/.well-known/oblivious-inference/releases.json"
KEYS_SEEN = "/.well-known/oblivious-inference/keys-seen.json"
KIND = ("Content-Type", "application/ohttp-keys")
KEPT_SECONDS = 10  # for which what a check leaves behind may be kept: another may follow at once
OUTLIVED_SECONDS = 2.5  # after which what may be kept for one second is old
LIMIT_SECONDS = 1.5  # after which a relay renews again, if it does so once a second
AT_ONCE = 30  # clients that ask anew; a relay whose limit is one a second meets them at once
RENEWALS = 5  # of their requests that may reach the gateway
OLD = "an older copy is still given: empty the relay's cache, or wait until the copy's time is over"
FETCH_SECONDS = 0.2  # that a renewal takes, so that all have asked before it ends


async def kept_for_all(bench: Bench, path: str) -> str:
    """Ask for `path` as several clients; all must get one copy, for as long as it may be kept."""
    count = 0

    async def numbered(exchange: Exchange) -> None:
        nonlocal count
        count += 1
        age = ("Cache-Control", f"max-age={1 if count == 1 else KEPT_SECONDS}")
        await exchange.answer(200, b"copy %d" % count, KIND, age, *MARKS)

    bench.gateway.script = numbered
    before = len(bench.gateway.arrivals)
    first = await first_copy(bench, path)
    if first.status == 404 and count == 0:
        return "not offered"
    require(first.status == 200, f"status {first.status}")
    await asyncio.sleep(OUTLIVED_SECONDS)
    second = await bench.ask("GET", path)
    require(second.body != first.body, "a copy outlived its max-age")
    await asyncio.sleep(SETTLE_SECONDS)  # processes of a relay share a copy a moment after this
    others: list[tuple[str, Fields]] = [
        (path, PERSONAL),
        (path, [("Cookie", "another=1"), ("Accept-Encoding", "gzip")]),
        (f"{path}?nonce=00112233445566778899aabbccddeeff", []),
        (path, []),
    ]
    for other, fields in others:
        answer = await bench.ask("GET", other, fields)
        require(answer.body == second.body or answer.status == 404, "clients get different copies")
        marked = answer.head.get("set-cookie") or answer.head.get("etag")
        require(not marked, f"the copy came with a mark: {marked}")
    arrived = bench.gateway.arrivals[before:]
    require(len(arrived) == 2, f"{len(arrived)} requests reached the gateway instead of 2")
    for exchange in arrived:
        require(exchange.target == path, f"{exchange.target} arrived")
        extra = [n for n, _ in exchange.request.fields if n.lower() not in NEEDED]
        require(not extra, "also arrived: " + ", ".join(extra))
    return f"{2 + len(others)} clients, 2 requests, one of them after max-age"


async def first_copy(bench: Bench, path: str) -> Answer:
    """Return the first answer that is no copy from before this check."""
    before, end = len(bench.gateway.arrivals), time.monotonic() + KEPT_SECONDS + OUTLIVED_SECONDS
    while True:
        answer = await bench.ask("GET", path)
        if answer.status != 200 or len(bench.gateway.arrivals) > before:
            return answer
        require(time.monotonic() < end, OLD)
        await asyncio.sleep(SETTLE_SECONDS)


async def keys_kept(bench: Bench) -> str:
    """One copy of the gateway's keys serves everybody"""
    detail = await kept_for_all(bench, KEYS)
    require(detail != "not offered", f"{KEYS} is not offered")
    return detail


async def evidence_kept(bench: Bench) -> str:
    """One copy of the evidence serves everybody, and no nonce passes"""
    return await kept_for_all(bench, EVIDENCE)


async def releases_kept(bench: Bench) -> str:
    """One copy of the list of releases serves everybody"""
    return await kept_for_all(bench, RELEASES)


async def keys_seen_kept(bench: Bench) -> str:
    """One copy of the mirrors' notes serves everybody"""
    return await kept_for_all(bench, KEYS_SEEN)


async def renewal_shared(bench: Bench) -> str:
    """Clients that ask anew at once are all answered, out of few renewals"""
    anew = [("Cache-Control", "no-cache")]
    body = b"before"

    async def slow(exchange: Exchange) -> None:
        given = body
        await asyncio.sleep(FETCH_SECONDS)
        await exchange.answer(200, given, KIND, ("Cache-Control", f"max-age={KEPT_SECONDS}"))

    bench.gateway.script = slow
    first = await bench.ask("GET", KEYS, anew)  # whatever was kept, this is newer
    require(first.body == body, "no-cache brings no new copy")
    await asyncio.sleep(LIMIT_SECONDS)
    bench.gateway.arrivals.clear()
    body = b"after"  # as when the enclave behind the gateway has been started anew
    answers = await asyncio.gather(*(bench.ask("GET", KEYS, anew) for _ in range(AT_ONCE)))
    if not bench.gateway.arrivals:
        # Threads of a relay may count two at once and renew for neither; clients ask again.
        await asyncio.sleep(LIMIT_SECONDS)
        answers += await asyncio.gather(*(bench.ask("GET", KEYS, anew) for _ in range(AT_ONCE)))
    refused = [answer.status for answer in answers if answer.status != 200]
    told = sorted(set(refused))
    require(not refused, f"{len(refused)} of {len(answers)} were refused, with {told}")
    fetched = len(bench.gateway.arrivals)
    require(fetched <= RENEWALS, f"{fetched} of {len(answers)} requests reached the gateway")
    await asyncio.sleep(SETTLE_SECONDS)
    later = await bench.ask("GET", KEYS)
    require(later.body == body, "who came later got the copy from before")
    new = sum(answer.body == body for answer in answers)
    return f"{len(answers)} at once, {new} of them got the new copy; {fetched} requests for it"
