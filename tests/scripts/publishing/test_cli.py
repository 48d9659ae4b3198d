"""The publisher's command: from an image to a list that a client takes."""

import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from oblivious_client import cli as client
from oblivious_client.releases.published import Unverified, verify
from oblivious_client.releases.statements import Change
from oblivious_client.releases.trust_file import read_trust
from protocol.note_key import NoteSigner
from scripts.image import eif
from scripts.publishing import cli
from tests.support.enclave_image import sections
from tests.support.releases import BUILDERS, LOG, ORIGIN, TRUST, WITNESSES

CHECKOUT = Path(__file__).parents[3]


def key_of(folder: Path, signer: NoteSigner) -> list[str]:
    path = folder / f"{signer.name}.pem"
    pem = signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    path.chmod(0o600)
    return ["--key", str(path), "--name", signer.name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all of it is done, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TRUST", "PCRS", "RELAY", "GATEWAY"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)
    return tmp_path


def trust_made() -> int:
    builders, witnesses = (
        ["2", *(each.key.encode() for each in group)] for group in (BUILDERS, WITNESSES)
    )
    who = ["--builders", *builders, "--witnesses", *witnesses]
    log = ["--origin", ORIGIN, "--log", LOG.key.encode()]
    alone = ["--independent", "witness-c.example", "--out", "trust.json"]
    return cli.main(["trust", *log, *who, *alone])


STATE = ["state", "--version", "1.0.0", "--sequence", "1", "--floor", "1", "--commit", "0" * 40]


def stated(*more: str) -> int:
    begins = ["--valid-from", str(int(time.time()) - 60), "--kernel", "debian-6.12"]
    files = ["--config", "config", "--sbom", "sbom"]
    return cli.main([*STATE, *begins, *files, *more, "image.eif"])


def test_from_an_image_to_a_list_that_a_client_takes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sections()
    (folder / "image.eif").write_bytes(eif.encode(made))
    (folder / "measurements.json").write_text(eif.nitro_cli_json(eif.measure(made)))
    for name in ("config", "sbom"):
        (folder / name).write_text(name)
    assert trust_made() == 0
    assert read_trust(folder / "trust.json") == TRUST
    assert stated("--measurements", "measurements.json", "--out", "statement") == 0
    for builder in BUILDERS[:2]:
        assert add(folder) == 1  # not before enough builders have signed
        words = ["releases", "sign", "statement", "--trust", "trust.json"]
        words += ["--measurements", "measurements.json", *key_of(folder, builder)]
        assert client.main(words) == 0
    assert add(folder) == 0
    lists = []
    for witness in WITNESSES[:2]:
        lists.append(f"{witness.name}.json")
        words = ["releases", "witness", "--trust", "trust.json", "--releases", "list.json"]
        assert client.main([*words, *key_of(folder, witness), "--out", lists[-1]]) == 0
    assert cli.main(["join", *lists, "--out", "releases.json"]) == 0
    published = verify(Unverified.decode((folder / "releases.json").read_bytes()), TRUST)
    ((_, release),) = published.releases()
    assert {f"PCR{i}": value.hex() for i, value in release.pcrs.items()} == eif.measure(made)
    capsys.readouterr()
    words = ["releases", "audit", "--trust", "trust.json", "--releases", "releases.json"]
    assert client.main(words) == 0
    assert "build-a.example, build-b.example: enough" in capsys.readouterr().out


def test_a_change_is_written_for_builders_to_sign(folder: Path) -> None:
    assert trust_made() == 0
    assert cli.main(["change", "--out", "change", "trust.json"]) == 0
    assert (folder / "change").read_text() == Change(TRUST).encode()
    words = ["releases", "sign", "change", "--trust", "trust.json", *key_of(folder, BUILDERS[0])]
    assert client.main(words) == 0


def add(folder: Path) -> int:
    words = ["add", "--trust", "trust.json", "--list", "list.json", "--out", "list.json"]
    return cli.main([*words, *key_of(folder, LOG), "statement"])


def test_what_cannot_be_done_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config", "sbom"):
        (folder / name).write_text(name)
    assert stated() == 1
    assert "image.eif: No such file" in capsys.readouterr().err
    (folder / "image.eif").write_bytes(b"no image")
    assert stated() == 1
    assert "release: " in capsys.readouterr().err
    assert trust_made() == 0
    for content in (b"\xff", b"no note"):
        (folder / "statement").write_bytes(content)
        assert add(folder) == 1
    assert cli.main(["join", "trust.json"]) == 1
    assert cli.main(["join", "none.json"]) == 1
    key = ["--log", BUILDERS[0].key.encode(), "--origin", ORIGIN]
    twice = ["--builders", "1", BUILDERS[0].key.encode(), "--witnesses", "1", "nonsense"]
    assert cli.main(["trust", *key, *twice]) == 1
    twice[-1] = WITNESSES[0].key.encode()
    assert cli.main(["trust", *key, *twice]) == 1
    assert "twice" in capsys.readouterr().err
    twice[1] = "x"
    assert cli.main(["trust", *key, *twice]) == 1


def test_the_command_tells_how() -> None:
    done = subprocess.run(
        [CHECKOUT / "scripts/release", "--help"], capture_output=True, text=True, check=True
    )
    assert "scripts/release state" in done.stdout
