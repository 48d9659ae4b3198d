"""What a process takes, as /proc tells it, and what of that has grown."""

import os
import subprocess
import sys
import time
from dataclasses import replace

from scripts.soaking.measures import Measure, cpu_total, growths, look, measure


def seen(at: float, kib: int, pid: int = 1, role: str = "worker") -> Measure:
    return Measure(role, pid, at, kib, 0, 10, 1, cpu=at / 10)


def test_a_process_is_looked_at() -> None:
    one = measure("me", os.getpid(), 5.0)
    assert one is not None
    with open(os.devnull) as _:  # noqa: PTH123
        more = measure("me", os.getpid(), 6.0)
    assert more is not None
    assert more.descriptors == one.descriptors + 1
    assert one.own_kib > 1024
    assert one.threads >= 1
    assert 0 < one.cpu <= more.cpu


def test_a_process_that_has_ended_is_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert look({"ended": [process.pid], "me": [os.getpid()]}, 1.0)[0].role == "me"
    assert measure("ended", process.pid, 1.0) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as unwaited:
        while measure("unwaited", unwaited.pid, 1.0) is not None:
            time.sleep(0.01)


def test_growth_begins_when_a_process_has_settled() -> None:
    life = [seen(at, kib) for at, kib in ((0, 100), (50, 500), (100, 1000), (300, 1100))]
    young = [seen(at, 100 + int(at), pid=2) for at in (250, 300)]
    (growth,) = growths([*life, *young], settled=100, least=200, filled=0)
    assert (growth.pid, growth.since, growth.seconds) == (1, 100, 200)
    assert (growth.first_kib, growth.last_kib) == (1000, 1100)
    assert round(growth.share, 3) == 0.1


def test_a_worker_has_settled_when_its_table_is_full() -> None:
    life = [replace(seen(at, 1000), shared_kib=at) for at in range(0, 900, 100)]
    (growth,) = growths(life, settled=100, least=300, filled=500)
    assert (growth.since, growth.seconds) == (500, 300)
    assert growths(life, settled=100, least=300, filled=600) == []
    others = [replace(each, role="relay") for each in life]
    assert growths(others, settled=100, least=300, filled=600)[0].since == 100


def test_time_is_counted_once_for_each_process() -> None:
    assert cpu_total([seen(10, 1), seen(20, 1), seen(30, 1, pid=2)]) == 5
