"""Whether models can be asked, which the supervisor tells its workers in shared memory."""

import mmap


class Readiness:
    """One octet, made before the workers are forked; not ready until the supervisor says so."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def tell(self, ready: bool) -> None:
        """Let all workers know; a single octet is never half written."""
        self._memory[0] = ready

    def __bool__(self) -> bool:
        return bool(self._memory[0])
