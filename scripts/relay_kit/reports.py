"""The results, for people and for programs."""

import json
from collections.abc import Sequence

from scripts.relay_kit.running import Result


def print_table(results: Sequence[Result]) -> None:
    """Print the results for people."""
    width = max(len(result.promise) for result in results)
    for result in results:
        word = "PASS" if result.passed else "FAIL"
        print(f"{word}  {result.promise:<{width}}  {result.detail}".rstrip())
    good = sum(result.passed for result in results)
    print(f"{good} of {len(results)} properties hold")


def print_json(relay: str, gateway: str, results: Sequence[Result]) -> None:
    """Print the results for programs."""
    checks = [
        {"name": r.name, "promise": r.promise, "passed": r.passed, "detail": r.detail}
        for r in results
    ]
    passed = all(result.passed for result in results)
    print(json.dumps({"relay": relay, "gateway": gateway, "passed": passed, "checks": checks}))
