"""What gives a worker's streamed answers their shape: the settings, and nothing if they say so."""

from functools import partial

from enclave_server.config import StreamTable
from enclave_server.gateway.pacing import Pacer, Shape, unpadded
from enclave_server.memory import Memory
from enclave_server.processes.worker import _make_pacer
from protocol.shaping import GeometricSeries


def report(failure: Exception) -> None:
    raise failure


def test_the_shape_is_that_of_the_settings() -> None:
    memory = Memory()
    table = StreamTable(tick_milliseconds=50, chunk_bytes=2048, series_first=7, series_ratio=2)
    pacer = _make_pacer(table, report, memory)
    assert isinstance(pacer, Pacer)
    assert pacer._shape == Shape(0.05, 2048, GeometricSeries(7, 2))
    assert pacer._memory is memory
    assert pacer._report is report


def test_without_padding_answers_go_as_they_come() -> None:
    memory = Memory()
    pacer = _make_pacer(StreamTable(padding="off"), report, memory)
    assert isinstance(pacer, partial)
    assert pacer.func is unpadded
    assert pacer.keywords == {"memory": memory}
