"""The root of the client's errors, and wrong usage, which both need nothing else."""

from __future__ import annotations

from oblivious_client.exits import Exit


class ClientError(Exception):
    """Root of the client's errors; `advice` says what the user can do."""

    def __init__(self, message: str, *, advice: str = "", code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.advice = advice
        self.code = code


class UsageError(ClientError):
    """A wrong option, address or file."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message, advice=advice, code=Exit.USAGE)
