"""The relay check: both of our relays keep every property, and careless ones are found out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Tap, careless_relay, needs_nginx, nginx_relay, reference_relay

PROGRAM = Path(__file__).resolve().parent.parent / "scripts" / "relay_check"
ALL = 18


def check(relay: str, gateway: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the check of `relay` with its recording gateway at the socket `gateway`."""
    listen = ["--gateway-listen", f"unix:{gateway}"]
    command = [sys.executable, str(PROGRAM), *listen, *options, relay]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, bool]:
    """Return what passed, by name."""
    report: dict[str, Any] = json.loads(done.stdout)
    found = {entry["name"]: entry["passed"] for entry in report["checks"]}
    assert report["passed"] == all(found.values()) == (done.returncode == 0)
    assert len(found) == ALL
    return found


def test_the_reference_relay_keeps_every_property(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with reference_relay(f"unix:{gateway}") as relay:
        done = check(relay, gateway)
    assert done.returncode == 0, done.stdout
    assert f"{ALL} of {ALL} properties hold" in done.stdout
    assert "FAIL" not in done.stdout
    assert done.stderr == f"gateway for the relay under test: unix:{gateway}\n"


@needs_nginx
def test_nginx_as_deployed_keeps_every_property(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with nginx_relay(f"unix:{gateway}", tmp_path / "nginx") as relay:
        done = check(relay, gateway, "--json")
    failed = [name for name, passed in verdicts(done).items() if not passed]
    assert failed == [], done.stdout


def test_a_relay_that_passes_everything_is_found_out(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with Tap(f"unix:{gateway}") as tap:
        relay = tap.address.replace("tcp://", "http://")
        done = check(relay, gateway, "--json", "--deadline", "5")
    passed = {name for name, passed in verdicts(done).items() if passed}
    assert passed == {
        "body_unchanged",
        "address_hidden",
        "upload_streams",
        "answer_streams",
        "large_bodies",
        "errors_pass",
        "truncation_shows",
        "sent_once",
        "hanging_up_passes",
    }


@needs_nginx
def test_a_common_reverse_proxy_is_found_out(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with careless_relay(f"unix:{gateway}", tmp_path / "nginx") as relay:
        done = check(relay, gateway, "--json", "--deadline", "2")
    failed = {name for name, passed in verdicts(done).items() if not passed}
    assert failed >= {
        "only_needed_fields",
        "nothing_personal",
        "address_hidden",
        "clients_alike",
        "other_media_types",
        "other_methods",
        "other_paths",
        "upload_streams",
        "large_bodies",
        "marks_removed",
        "keys_kept",
        "evidence_kept",
    }


def test_a_relay_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    done = check(f"unix:{tmp_path / 'nobody'}", tmp_path / "gateway.sock", "--wait", "0")
    assert done.returncode == 2
    assert "No request came through the relay" in done.stderr


@pytest.mark.parametrize("url", ["relay.example.com", "ftp://relay.example.com/"])
def test_a_wrong_url_is_said_to_be_one(tmp_path: Path, url: str) -> None:
    done = check(url, tmp_path / "gateway.sock")
    assert done.returncode == 2
    assert "is not the URL of a relay" in done.stderr


def test_an_address_that_cannot_be_listened_at_is_said_to_be_one(tmp_path: Path) -> None:
    done = check("http://127.0.0.1:9", tmp_path / "missing" / "gateway.sock")
    assert done.returncode == 2
    assert "Cannot listen at" in done.stderr
