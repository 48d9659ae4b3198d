"""Scenarios that mostly wait, run at once: each test takes the outcome of its own."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Outcome = Callable[[Callable[..., None]], None]
"""Waits for the scenario that it is given, and raises what that raised."""


@contextlib.contextmanager
def at_once(scenarios: Mapping[Key, Callable[[], None]]) -> Iterator[Callable[[Key], None]]:
    """Begin all scenarios, each in a thread; wait for those that nobody asked for at the end."""
    with ThreadPoolExecutor(len(scenarios)) as pool:
        running = {key: pool.submit(scenario) for key, scenario in scenarios.items()}
        yield lambda key: running[key].result()
