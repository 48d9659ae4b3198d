"""The list of what the image is made of: all that the locks pin, in CycloneDX's form."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from scripts.image import kernel, recipe, sbom
from scripts.image.locks import read_lock

CHECKOUT = Path(__file__).parents[3]
HASH = "5" * 64

Component = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return sbom.document()


@pytest.fixture
def components(document: dict[str, Any]) -> list[Component]:
    found: list[Component] = document["components"]
    return found


def test_it_is_what_cyclonedx_calls_valid(document: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


def test_a_document_that_is_not_valid_would_be_noticed(document: dict[str, Any]) -> None:
    wrong = json.dumps(document | {"components": [{"type": "library"}]})
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(wrong) is not None


def test_every_hash_of_the_locks_of_python_packages_is_in_it(document: dict[str, Any]) -> None:
    pinned = "".join(path.read_text() for path in sbom.REQUIREMENTS)
    hashes = set(re.findall(r"sha256:([0-9a-f]{64})", pinned))
    listed = json.dumps(document)
    assert len(hashes) > 20
    assert all(each in listed for each in hashes)


def test_every_debian_package_is_in_it_with_its_hash(components: list[Component]) -> None:
    listed = {(each["name"], each["version"]): each for each in components}
    for package in read_lock(recipe.LOCK).packages:
        component = listed[package.name, package.version]
        assert component["hashes"] == [{"alg": "SHA-256", "content": package.sha256}]
        builds = package.name in recipe.TOOL_PACKAGES
        assert component["scope"] == ("excluded" if builds else "required")


def test_the_kernel_is_the_recorded_one(components: list[Component]) -> None:
    (linux,) = (each for each in components if each["type"] == "operating-system")
    assert linux["hashes"] == [{"alg": "SHA-256", "content": kernel.recorded()}]
    (source,) = linux["pedigree"]["ancestors"]
    (locked,) = read_lock(kernel.LOCK).only([source["name"]])
    assert source["hashes"] == [{"alg": "SHA-256", "content": locked.sha256}]
    assert linux["version"] == locked.version


def test_package_urls_are_as_others_write_them(components: list[Component]) -> None:
    for component in components:
        purl = PackageURL.from_string(component["purl"])
        assert purl.to_string() == component["purl"]
        assert (purl.name, purl.version) == (component["name"], component["version"])


def test_equal_locks_give_equal_documents(document: dict[str, Any]) -> None:
    assert sbom.document() == document


@pytest.mark.parametrize(
    "line",
    [
        "anyio",
        "anyio==4.16.0",
        f"anyio>=4 --hash=sha256:{HASH}",
        "anyio==4.16.0 --hash=sha256:00",
        f"anyio==4.16.0 --hash=md5:{HASH}",
        "-r other.txt",
    ],
)
def test_a_line_that_pins_nothing_is_refused(line: str) -> None:
    with pytest.raises(sbom.LockError):
        list(sbom.pinned(f"# a lock\n{line}\n"))


def test_lines_that_pin_are_read() -> None:
    text = f"# a lock\nanyio==4.16.0 \\\n    --hash=sha256:{HASH} \\\n    --hash=sha256:{HASH}\n"
    assert list(sbom.pinned(text)) == [("anyio", "4.16.0", [HASH, HASH])]


def test_the_client_is_listed_too(tmp_path: Path) -> None:
    made = sbom.client_document()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    assert made["metadata"]["component"]["type"] == "application"
    hashes = set(re.findall(r"sha256:([0-9a-f]{64})", sbom.CLIENT_REQUIREMENTS.read_text()))
    assert len(hashes) > 20
    listed = json.dumps(made)
    assert all(each in listed for each in hashes)
    assert {"httpx", "cryptography", "h11"} <= {each["name"] for each in made["components"]}
    assert made["serialNumber"] != sbom.document()["serialNumber"]
    command = [str(CHECKOUT / "scripts/sbom"), "--client", "--out", "client.json"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "client.json").read_text()) == made


def test_the_command_writes_it(document: dict[str, Any], tmp_path: Path) -> None:
    subprocess.run([CHECKOUT / "scripts/sbom", "--out", "sbom.json"], cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "sbom.json").read_text()) == document


def test_a_file_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["sbom", "--out", str(tmp_path / "no" / "where")])
    assert sbom.main() == 1
    assert "sbom: " in capsys.readouterr().err
