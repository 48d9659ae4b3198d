"""Check what an Oblivious HTTP relay does with what it is given.

    scripts/relay_check [--http2] [--gateway-listen HOST:PORT|unix:PATH] [--ca FILE]
                        [--wait SECONDS] [--deadline SECONDS] [--json] URL
    scripts/relay_check --bundle FILE

URL is the relay's resource that takes sealed requests. The relay must have as its gateway the
small recording one that this program starts and names; it is waited for. Then requests are sent
through the relay, and what arrives is compared with what a relay may hand on (RFC 9458,
Sections 6 and 7). --http2 sends them in HTTP/2, as browsers do; each must hold there too.
--ca names the authorities to trust, --wait how long the relay is waited for (60), --deadline how
long each check may take (20).

--bundle writes all of this into one file, which any Python from 3.11 on runs: for an operator
who has nothing else of this project. --http2 needs the package h2, which the file brings along.

Exit codes: 0 every property holds, 1 some do not, 2 the relay or the gateway cannot be used.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from scripts.relay_kit import bundle
from scripts.relay_kit.bench import Bench, Caller
from scripts.relay_kit.calls import UsageError, call_http1, parse_target
from scripts.relay_kit.recording import Gateway
from scripts.relay_kit.reports import print_json, print_table
from scripts.relay_kit.running import CHECKS, run_check, wait_for_relay

DEADLINE_SECONDS = 20.0  # for each check, where everything should happen at once
WAIT_SECONDS = 60.0


def find_caller(http2: bool) -> tuple[Caller, list[str]]:
    """Return what sends requests, and the protocols that it offers in a TLS handshake."""
    if not http2:
        return call_http1, ["http/1.1"]
    try:
        from scripts.relay_kit.http2 import ALPN, call_http2
    except ModuleNotFoundError as error:
        sentence = f"{error.name} is missing, which --http2 needs: run a file made with --bundle."
        raise UsageError(sentence) from error
    return call_http2, [ALPN]


async def run(arguments: argparse.Namespace) -> int:
    """Run all checks; return the exit code."""
    caller, protocols = find_caller(arguments.http2)
    target = parse_target(arguments.url, arguments.ca)
    if target.tls is not None:
        target.tls.set_alpn_protocols(protocols)
    gateway = Gateway()
    try:
        server, address = await gateway.listen(arguments.gateway_listen)
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot listen at {arguments.gateway_listen}: {error}.") from error
    print(f"gateway for the relay under test: {address}", file=sys.stderr, flush=True)
    bench = Bench(target, gateway, caller)
    await wait_for_relay(bench, arguments.wait)
    results = [await run_check(check, bench, arguments.deadline) for check in CHECKS]
    server.close()  # without waiting for it: the relay may keep its connections
    if arguments.json:
        print_json(arguments.url, address, results)
    else:
        print_table(results)
    return 0 if all(result.passed for result in results) else 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    first, _, last = (__doc__ or "").strip().partition("\n\n")
    parser = argparse.ArgumentParser(
        "relay_check", description=first, epilog=last.rpartition("\n\n")[2]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "url", nargs="?", help="the relay's resource for sealed requests, or unix:PATH"
    )
    what.add_argument("--bundle", type=Path, metavar="FILE", help="write this program as one file")
    parser.add_argument("--http2", action="store_true", help="speak HTTP/2 to the relay")
    parser.add_argument(
        "--gateway-listen",
        default="127.0.0.1:0",
        metavar="ADDRESS",
        help="HOST:PORT or unix:PATH for the recording gateway (default: a free port)",
    )
    parser.add_argument("--ca", metavar="FILE", help="trust the certificates in FILE for https")
    parser.add_argument(
        "--wait",
        type=float,
        default=WAIT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for the relay",
    )
    parser.add_argument(
        "--deadline",
        type=float,
        default=DEADLINE_SECONDS,
        metavar="SECONDS",
        help="how long a check may take (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    asked = parse(arguments)
    try:
        if asked.bundle is not None:
            bundle.write(asked.bundle)
            return 0
        return asyncio.run(run(asked))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
