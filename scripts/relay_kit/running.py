"""Running the checks one after the other, once the relay can be reached."""

import asyncio
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from scripts.relay_kit.bench import Bench, CheckError
from scripts.relay_kit.calls import UsageError
from scripts.relay_kit.checks import answering, keeping, passing_on, refusing, streaming
from scripts.relay_kit.recording import echo

SILENT = "it closes without an answer, perhaps because it speaks another version of HTTP"
SAY_SECONDS = 5.0  # between two lines about a relay that is waited for

Check = Callable[[Bench], Awaitable[str]]

CHECKS: tuple[Check, ...] = (
    passing_on.body_unchanged,
    passing_on.only_needed_fields,
    passing_on.nothing_personal,
    passing_on.address_hidden,
    passing_on.clients_alike,
    refusing.other_media_types,
    refusing.other_methods,
    refusing.other_paths,
    streaming.upload_streams,
    streaming.answer_streams,
    streaming.large_bodies,
    answering.errors_pass,
    answering.marks_removed,
    answering.truncation_shows,
    answering.sent_once,
    streaming.hanging_up_passes,
    keeping.keys_kept,
    keeping.evidence_kept,
    keeping.releases_kept,
    keeping.keys_seen_kept,
    keeping.renewal_shared,
)


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended."""

    name: str
    promise: str
    passed: bool
    detail: str


async def run_check(check: Check, bench: Bench, seconds: float) -> Result:
    """Run one check with the gateway as at the start."""
    bench.gateway.arrivals.clear()
    bench.gateway.script = echo
    name, promise = check.__name__, check.__doc__ or ""
    try:
        async with asyncio.timeout(seconds):
            detail = await check(bench)
    except CheckError as error:
        return Result(name, promise, False, str(error))
    except TimeoutError:
        return Result(name, promise, False, f"did not happen within {seconds:.0f} s")
    except (EOFError, OSError, ValueError) as error:
        return Result(name, promise, False, f"the relay broke off ({type(error).__name__})")
    return Result(name, promise, True, detail)


async def wait_for_relay(bench: Bench, seconds: float) -> None:
    """Return when a sealed request comes through the relay, which may be started meanwhile."""
    end = time.monotonic() + seconds
    shown = 0.0
    while why := await missing(bench):
        now = time.monotonic()
        if now > end:
            sentence = f"No request came through the relay ({why}): point it at the gateway above."
            raise UsageError(sentence)
        if now - shown > SAY_SECONDS:
            shown = now
            print(f"waiting {end - now:.0f} s more: {why}", file=sys.stderr, flush=True)
        await asyncio.sleep(0.1)


async def missing(bench: Bench) -> str:
    """Return why no sealed request comes through the relay; nothing if one does."""
    try:
        async with asyncio.timeout(SAY_SECONDS):
            answer = await bench.post(b"sealed")
    except (ConnectionRefusedError, FileNotFoundError):
        why = "nothing listens at the relay's address"
    except ssl.SSLCertVerificationError as error:
        sentence = f"The relay's certificate is not trusted: {error.verify_message}."
        raise UsageError(f"{sentence} With --ca FILE the certificates in FILE are.") from error
    except TimeoutError:
        why = "it does not answer"
    except (OSError, EOFError, ValueError) as error:
        why = str(error) or type(error).__name__
    else:
        why = f"it answers {answer.status} by itself" if answer.status else SILENT
    return "" if bench.gateway.arrivals else why
