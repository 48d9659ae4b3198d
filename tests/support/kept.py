"""What a reader keeps of an answer, and of a piece of it that has only begun."""

from enclave_server.chat.dialects.dialect import StreamReader

BEGUN_EVENT = b'data: {"an event": "that has begun"'


def kept_of(reader: StreamReader, said: bytes, begun: bytes = BEGUN_EVENT) -> int:
    """Return how many octets a fresh `reader` keeps of `said`; those of `begun` add to them."""
    assert reader.kept == 0
    for _ in reader.feed(said):
        pass
    of_answer = reader.kept
    for _ in reader.feed(begun):
        pass
    assert reader.kept == of_answer + len(begun)
    return of_answer
