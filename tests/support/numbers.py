"""Which choices of an answer are spoken of."""

from enclave_server.chat.dialects.dialect import StreamReader


def choices_in(reader: StreamReader, data: bytes) -> set[int]:
    """Return the numbers of the choices that events of a stream and their states are of."""
    events = list(reader.feed(data))
    said = {part.index for event in events for part in event.choices}
    return said | {part.choice for event in events for part in event.states}
