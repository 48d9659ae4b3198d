"""Prometheus' text format, letter by letter."""

from host_proxy.exposition import Family, text


def test_metrics_are_written_as_prometheus_reads_them() -> None:
    families = [
        Family("a_total", "counter", "What a is.", [({"x": "1", "y": "2"}, 3), ({"x": "4"}, 0.5)]),
        Family("b", "gauge", "What b is.", [({}, 0)]),
        Family("c", "gauge", "What none is.", []),
    ]
    assert text(families) == (
        b"# HELP a_total What a is.\n"
        b"# TYPE a_total counter\n"
        b'a_total{x="1",y="2"} 3\n'
        b'a_total{x="4"} 0.5\n'
        b"# HELP b What b is.\n"
        b"# TYPE b gauge\n"
        b"b 0\n"
        b"# HELP c What none is.\n"
        b"# TYPE c gauge\n"
    )


def test_a_label_may_hold_any_character() -> None:
    (line,) = text([Family("a", "gauge", "", [({"x": 'b\\s "q"\nn'}, 1)])]).split(b"\n")[2:-1]
    assert line == b'a{x="b\\\\s \\"q\\"\\nn"} 1'
