"""Releases through a real relay, and what a pinned client says to the network."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.gateway import MODEL, StandInGateway
from tests.support.released_gateway import RELEASES, listed, running
from tests.support.releases import TRUST
from tests.support.stack import reference_relay

STRACE = shutil.which("strace")

needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def command(*words: object, cache: Path, before: tuple[str, ...] = ()) -> str:
    """Run the client as a program of its own; return what it prints."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "oblivious_client", *map(str, words)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "OBLIVIOUS_MODEL": MODEL},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_list_comes_through_the_reference_relay(tmp_path: Path) -> None:
    trust = tmp_path / "trust.json"
    trust.write_bytes(TRUST.encode_file())
    with StandInGateway() as gateway, reference_relay(gateway.url) as relay:
        gateway.files[RELEASES] = listed(running(1)).served(int(time.time()))
        words = ("--relay", relay, "--trust", trust, "--allow-simulated")
        assert "1 of them new" in command("releases", "fetch", *words, cache=tmp_path / "cache")
        shown = command("verify", "--json", *words, cache=tmp_path / "cache")
    assert json.loads(shown)["release"]["version"] == "1.1.0"
    arrived = [each for each in gateway.arrived if each.path == RELEASES]
    assert len(arrived) == 1
    assert arrived[0].field("user-agent") is None


@needs_strace
def test_a_pinned_client_connects_to_its_relay_and_nobody_else(tmp_path: Path) -> None:
    trust, pins, trace = (tmp_path / name for name in ("trust.json", "pcrs.json", "trace"))
    trust.write_bytes(TRUST.encode_file())
    with StandInGateway() as gateway:
        gateway.files[RELEASES] = listed(running(1)).served(int(time.time()))
        words = ("--relay", gateway.url, "--allow-simulated")
        trusting = (*words, "--trust", trust)
        command("releases", "fetch", *trusting, cache=tmp_path / "cache")
        command("releases", "pin", "1.1.0", "--out", pins, *trusting, cache=tmp_path / "cache")
        del gateway.files[RELEASES]
        watched = (str(STRACE), "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(trace))
        said = command(
            "chat", "--pcrs", pins, *trusting, "Hi", cache=tmp_path / "cache", before=watched
        )
        port = gateway.url.rpartition(":")[2]
    assert said == "The capital of France is Paris.\n"
    connects = [line for line in trace.read_text().splitlines() if "connect(" in line]
    assert connects
    place = re.compile(rf'sin_port=htons\({port}\), sin_addr=inet_addr\("127\.0\.0\.1"\)')
    assert [line for line in connects if not place.search(line)] == []


@needs_strace
def test_judging_a_list_opens_no_socket(tmp_path: Path) -> None:
    trust, served, trace = (tmp_path / name for name in ("trust.json", "releases.json", "trace"))
    trust.write_bytes(TRUST.encode_file())
    served.write_bytes(listed(running(1)).served(int(time.time())))
    watched = (str(STRACE), "-f", "-qq", "-e", "trace=socket,connect", "-o", str(trace))
    words = ("--trust", trust, "--releases", served)
    for action in ("list", "audit"):
        command("releases", action, *words, cache=tmp_path / "cache", before=watched)
        assert trace.read_text() == ""
