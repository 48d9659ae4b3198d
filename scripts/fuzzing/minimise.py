"""Makes an input that breaks something shorter, as long as it breaks the same thing."""

import time
import traceback
from collections.abc import Callable

Clock = Callable[[], float]


def breakage(run: Callable[[bytes], None], data: bytes) -> str | None:
    """Return what `data` breaks, the error and the place that raised it; None if nothing."""
    try:
        run(data)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {last.name}, {last.filename}:{last.lineno}"
    return None


def minimise(
    run: Callable[[bytes], None],
    data: bytes,
    seconds: float,
    clock: Clock = time.monotonic,
) -> bytes:
    """Return the shortest input found within `seconds` that breaks what `data` breaks."""
    broken, until = breakage(run, data), clock() + seconds
    size = len(data)
    while size and broken is not None:
        shorter = _without_pieces(
            data, size, lambda left: breakage(run, left) == broken, until, clock
        )
        # Once more with the same size if that helped: what could not go before may go now.
        size = size if len(shorter) < len(data) and size == 1 else size // 2
        data = shorter
        if clock() > until:
            break
    return data


def _without_pieces(
    data: bytes, size: int, breaks: Callable[[bytes], bool], until: float, clock: Clock
) -> bytes:
    """Return `data` without those pieces of `size` octets that are not needed, from its end on."""
    for start in range(len(data) - size, -1, -size):
        left = data[:start] + data[start + size :]
        if clock() > until:
            break
        if breaks(left):
            data = left
    return data
