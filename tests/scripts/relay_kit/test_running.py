"""How a check ends, and what is said about it."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from scripts.relay_kit.bench import Bench, require
from scripts.relay_kit.calls import Target, call_http1
from scripts.relay_kit.recording import Gateway, echo
from scripts.relay_kit.reports import print_json, print_table
from scripts.relay_kit.running import CHECKS, Result, run_check


async def holds(bench: Bench) -> str:
    """It holds"""
    assert bench.gateway.script is echo
    return "as it should"


async def fails(bench: Bench) -> str:
    """It fails"""
    require(False, "something else was seen")
    return "nobody reads this"


async def hangs(bench: Bench) -> str:
    """It hangs"""
    await asyncio.Event().wait()
    return "nobody reads this"


async def breaks(bench: Bench) -> str:
    """It breaks"""
    raise EOFError


async def ended(bench: Bench) -> str:
    """It ends"""
    bench.last()
    return "nobody reads this"


@pytest.mark.parametrize(
    ("check", "result"),
    [
        (holds, Result("holds", "It holds", True, "as it should")),
        (fails, Result("fails", "It fails", False, "something else was seen")),
        (hangs, Result("hangs", "It hangs", False, "did not happen within 0 s")),
        (
            breaks,
            Result("breaks", "It breaks", False, "the relay broke off (EOFError)"),
        ),
        (ended, Result("ended", "It ends", False, "nothing arrived at the gateway")),
    ],
)
def test_each_end_of_a_check_is_told(
    check: Callable[[Bench], Awaitable[str]], result: Result
) -> None:
    gateway = Gateway()

    async def left_behind(exchange: object) -> None:
        """What the check before wanted."""

    gateway.script = left_behind
    bench = Bench(Target("/nowhere", "r", "/", None), gateway, call_http1)
    assert asyncio.run(run_check(check, bench, 0.2)) == result


def test_every_check_has_a_name_and_a_promise_of_its_own() -> None:
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)
    assert len({check.__doc__ for check in CHECKS}) == len(CHECKS)
    assert all(check.__doc__ and "\n" not in check.__doc__ for check in CHECKS)


RESULTS = [Result("a", "Short", True, ""), Result("b", "A longer promise", False, "seen")]


def test_results_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(RESULTS)
    assert capsys.readouterr().out == (
        "PASS  Short\nFAIL  A longer promise  seen\n1 of 2 properties hold\n"
    )


def test_results_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_json("http://r/", "http://g", RESULTS)
    assert json.loads(capsys.readouterr().out) == {
        "relay": "http://r/",
        "gateway": "http://g",
        "passed": False,
        "checks": [
            {"name": "a", "promise": "Short", "passed": True, "detail": ""},
            {"name": "b", "promise": "A longer promise", "passed": False, "detail": "seen"},
        ],
    }
