"""Authorities: those of the environment, and a sentence for those that are no good."""

import io
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from oblivious_client import cli, trust
from oblivious_client.errors import UsageError
from oblivious_client.exits import Exit


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(trust.FILE, raising=False)
    monkeypatch.delenv(trust.FOLDER, raising=False)


def test_without_a_variable_there_are_authorities() -> None:
    assert trust.named() is None
    assert trust.context().verify_mode is ssl.CERT_REQUIRED
    assert trust.context().get_ca_certs()


def test_a_file_that_is_named_counts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    monkeypatch.setenv(trust.FOLDER, str(tmp_path))
    assert trust.named() == trust.FOLDER
    trust.context()
    monkeypatch.setenv(trust.FILE, str(file))
    assert trust.named() == trust.FILE
    assert len(trust.context().get_ca_certs()) == 1


@pytest.mark.parametrize("variable", [trust.FILE, trust.FOLDER])
def test_what_is_not_there_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/none/here")
    with pytest.raises(UsageError) as caught:
        trust.context()
    said = f"{variable} names /none/here, which cannot be read: No such file or directory"
    assert str(caught.value) == said
    assert "unset it" in caught.value.advice


def test_a_file_that_holds_no_certificate_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv(trust.FILE, str(file))
    with pytest.raises(UsageError, match="holds no certificate that can be read"):
        trust.context()


@pytest.mark.parametrize("command", ["chat", "serve", "verify", "keys"])
def test_every_command_says_it_alike(
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(trust.FILE, "/none/here")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    more = ["Hi"] if command == "chat" else []
    code = cli.main([command, "--relay", "https://relay.example", "--allow-simulated", *more])
    assert code == Exit.USAGE
    assert "SSL_CERT_FILE names /none/here" in capsys.readouterr().err
