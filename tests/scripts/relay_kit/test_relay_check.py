"""The relay check: our relays keep what they promise, and careless ones are found out."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from scripts.relay_kit import bundle
from tests.support.at_once import Outcome, at_once
from tests.support.haproxy import haproxy_relay, needs_haproxy
from tests.support.stack import (
    Tap,
    careless_relay,
    needs_nginx,
    nginx_relay,
    reference_relay,
)

PROGRAM = Path(__file__).resolve().parents[3] / "scripts" / "relay_check"
ALL = 21
PATIENT = ("--deadline", "120")  # with a machine that is busy; what passes needs a second


def check(
    relay: str, gateway: Path, *options: str, program: Sequence[str] = (str(PROGRAM),)
) -> subprocess.CompletedProcess[str]:
    """Run the check of `relay` with its recording gateway at the socket `gateway`."""
    listen = ["--gateway-listen", f"unix:{gateway}"]
    command = [*program, *listen, *options, relay]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, bool]:
    """Return what passed, by name."""
    report: dict[str, Any] = json.loads(done.stdout)
    found = {entry["name"]: entry["passed"] for entry in report["checks"]}
    assert report["passed"] == all(found.values()) == (done.returncode == 0)
    assert len(found) == ALL
    return found


def the_reference_relay_keeps_every_property(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with reference_relay(f"unix:{gateway}") as relay:
        done = check(relay, gateway, *PATIENT)
    assert done.returncode == 0, done.stdout
    assert f"{ALL} of {ALL} properties hold" in done.stdout
    assert "FAIL" not in done.stdout
    assert done.stderr == f"gateway for the relay under test: unix:{gateway}\n"


def nginx_as_deployed_keeps_every_property(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with nginx_relay(f"unix:{gateway}", tmp_path / "nginx") as relay:
        for _ in range(2):  # the second meets the copies of the first
            done = check(relay, gateway, "--json", *PATIENT)
            failed = [name for name, passed in verdicts(done).items() if not passed]
            assert failed == [], done.stdout


def haproxy_as_deployed_keeps_what_it_says(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with haproxy_relay(f"unix:{gateway}", tmp_path / "haproxy") as relay:
        done = check(relay, gateway, "--json", *PATIENT)
    failed = {name for name, passed in verdicts(done).items() if not passed}
    assert failed <= {"nothing_personal"}, done.stdout  # it hands trailers on


def check_http2(relay: str, gateway: Path, authority: trustme.CA) -> set[str]:
    """Run the check in HTTP/2 from its one file, with nothing else; return what does not hold."""
    folder = gateway.parent
    bundle.write(folder / "relay_check")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    alone = (sys.executable, "-I", "-S", str(folder / "relay_check"))
    options = ("--http2", "--json", "--ca", str(folder / "authority.pem"), *PATIENT)
    done = check(relay, gateway, *options, program=alone)
    print(done.stdout)  # why, for whoever sees it fail
    return {name for name, passed in verdicts(done).items() if not passed}


def nginx_keeps_every_property_in_http2(tmp_path: Path) -> None:
    gateway, authority = tmp_path / "gateway.sock", trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    site = nginx_relay(f"unix:{gateway}", tmp_path / "nginx", certificate=certificate)
    with site as relay:
        assert check_http2(relay, gateway, authority) == set()


def haproxy_keeps_what_it_says_in_http2(tmp_path: Path) -> None:
    gateway, authority = tmp_path / "gateway.sock", trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    site = haproxy_relay(f"unix:{gateway}", tmp_path / "haproxy", certificate=certificate)
    with site as relay:
        failed = check_http2(relay, gateway, authority)
    assert failed <= {"nothing_personal", "truncation_shows"}


def test_a_relay_without_http2_is_said_to_be_one(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with reference_relay(f"unix:{gateway}") as relay:
        done = check(relay, gateway, "--http2", "--wait", "0")
    assert done.returncode == 2
    assert "perhaps because it speaks another version of HTTP" in done.stderr


def a_relay_that_passes_everything_is_found_out(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with Tap(f"unix:{gateway}") as tap:
        relay = tap.address.replace("tcp://", "http://")
        done = check(relay, gateway, "--json", *PATIENT)
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


def a_common_reverse_proxy_is_found_out(tmp_path: Path) -> None:
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
        "releases_kept",
        "keys_seen_kept",
    }


def test_where_nothing_listens_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as unused:  # bound, so that nobody else can listen there
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        for relay in (f"unix:{tmp_path / 'nobody'}", dead):
            done = check(relay, tmp_path / "gateway.sock", "--wait", "0.2")
            _, first, *_, last = done.stderr.splitlines()
            assert done.returncode == 2
            assert first == "waiting 0 s more: nothing listens at the relay's address"
            assert "came through the relay (nothing listens at the relay's address)" in last


@needs_nginx
def test_a_certificate_that_is_not_trusted_is_said_to_be_one_at_once(tmp_path: Path) -> None:
    gateway, certificate = tmp_path / "gateway.sock", trustme.CA().issue_cert("127.0.0.1")
    site = nginx_relay(f"unix:{gateway}", tmp_path / "nginx", certificate=certificate)
    with site as relay:
        done = check(relay, gateway, "--wait", "900")
    assert done.returncode == 2
    assert "The relay's certificate is not trusted" in done.stderr
    assert "--ca FILE" in done.stderr


def test_a_relay_of_another_gateway_is_said_to_be_one(tmp_path: Path) -> None:
    with reference_relay(f"unix:{tmp_path / 'nobody'}") as relay:
        done = check(relay, tmp_path / "gateway.sock", "--wait", "0")
    assert done.returncode == 2
    assert "(it answers 502 by itself): point it at the gateway above" in done.stderr


@pytest.mark.parametrize("url", ["relay.example.com", "ftp://relay.example.com/"])
def test_a_wrong_url_is_said_to_be_one(tmp_path: Path, url: str) -> None:
    done = check(url, tmp_path / "gateway.sock")
    assert done.returncode == 2
    assert "is not the URL of a relay" in done.stderr


def test_an_address_that_cannot_be_listened_at_is_said_to_be_one(tmp_path: Path) -> None:
    done = check("http://127.0.0.1:9", tmp_path / "missing" / "gateway.sock")
    assert done.returncode == 2
    assert "Cannot listen at" in done.stderr


def test_what_is_no_address_is_said_to_be_none(tmp_path: Path) -> None:
    done = check("http://127.0.0.1:9", tmp_path / "unused", "--gateway-listen", "nonsense")
    assert done.returncode == 2
    assert "neither HOST:PORT nor unix:PATH" in done.stderr


RELAYS = (
    the_reference_relay_keeps_every_property,
    nginx_as_deployed_keeps_every_property,
    haproxy_as_deployed_keeps_what_it_says,
    nginx_keeps_every_property_in_http2,
    haproxy_keeps_what_it_says_in_http2,
    a_relay_that_passes_everything_is_found_out,
    a_common_reverse_proxy_is_found_out,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Have all relays checked at once: the checks mostly wait for what must not happen."""
    scenarios = {each: partial(each, tmp_path_factory.mktemp("relay")) for each in RELAYS}
    with at_once(scenarios) as outcome:
        yield outcome


def test_the_reference_relay_keeps_every_property(outcome: Outcome) -> None:
    outcome(the_reference_relay_keeps_every_property)


@needs_nginx
def test_nginx_as_deployed_keeps_every_property(outcome: Outcome) -> None:
    outcome(nginx_as_deployed_keeps_every_property)


@needs_haproxy
def test_haproxy_as_deployed_keeps_what_it_says(outcome: Outcome) -> None:
    outcome(haproxy_as_deployed_keeps_what_it_says)


@needs_nginx
def test_nginx_keeps_every_property_in_http2(outcome: Outcome) -> None:
    outcome(nginx_keeps_every_property_in_http2)


@needs_haproxy
def test_haproxy_keeps_what_it_says_in_http2(outcome: Outcome) -> None:
    outcome(haproxy_keeps_what_it_says_in_http2)


def test_a_relay_that_passes_everything_is_found_out(outcome: Outcome) -> None:
    outcome(a_relay_that_passes_everything_is_found_out)


@needs_nginx
def test_a_common_reverse_proxy_is_found_out(outcome: Outcome) -> None:
    outcome(a_common_reverse_proxy_is_found_out)
