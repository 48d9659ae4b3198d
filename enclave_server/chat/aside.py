"""What a worker does with work that another process does for it: hands it over in turns.

Of a stream it is what `large` is about; what passes is in `elsewhere`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from enclave_server.chat.dialects.dialect import StreamReader
from enclave_server.chat.elsewhere import (
    Ended,
    Large,
    decode_reading,
    decode_signed,
    encode_ended,
    encode_large,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.preparing import KindName
from enclave_server.chat.spoken import Spoken
from enclave_server.chat.surfaces.surface import Signature

Elsewhere = Callable[[bytes], Awaitable[bytes | bytearray]]
"""Does in another process what `do` does; raises ChatError."""

Result = TypeVar("Result")


async def in_turns(
    elsewhere: Elsewhere, encode: Callable[[], bytes], decode: Callable[[bytes | bytearray], Result]
) -> Result:
    """Return what becomes of some work elsewhere, in as many turns of the loop as it has copies.

    Each of 20 MiB takes five to twenty milliseconds, most of which is for memory to be had.
    """
    await asyncio.sleep(0)
    data = await elsewhere(encode())
    await asyncio.sleep(0)
    result = decode(data)
    del data
    await asyncio.sleep(0)
    return result


@dataclass(frozen=True, slots=True)
class Aside:
    """Does elsewhere what is too large of one stream, which all streams of a worker do in `turn`.

    So they never take all of its readers. `ended` is how an answer is to be signed.
    """

    elsewhere: Elsewhere
    turn: asyncio.Semaphore
    dialect: str
    kind: KindName
    ended: Callable[[Sequence[Spoken]], Ended]

    async def read(
        self, reader: StreamReader, octets: bytes
    ) -> tuple[Sequence[bytes], ChatError | None]:
        """Return slices of what the large event in `octets` says, and the fault in it if any.

        `reader` goes on from the state after it.
        """
        large = Large(self.dialect, self.kind, reader.save(), octets)
        async with self.turn:
            reading = await in_turns(self.elsewhere, partial(encode_large, large), decode_reading)
        reader.restore(reading.state)
        return reading.slices, None if reading.fault is None else reading.fault.error()

    async def sign(self, choices: Sequence[Spoken]) -> Signature:
        """Return the signature over `choices`, whose calls can be read."""
        ended = self.ended(choices)
        async with self.turn:
            return await in_turns(self.elsewhere, partial(encode_ended, ended), decode_signed)
