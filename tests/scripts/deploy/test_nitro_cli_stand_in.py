"""The stand-in for nitro-cli prints what the real 1.5.2, built from its crate, printed too."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import nitro_cli
from tests.support.enclave_image import write_image

WHOLE = """\
{
  "EifVersion": 4,
  "Measurements": {
    "HashAlgorithm": "Sha512_48 { .. }",
    "PCR0": "a899c85ae3191ba1bee99af6e8dde2a369343dc1ee07aaacc7b248f8981b6a829b9ee2a9d57304fe14a24d9ec0ca64cb",
    "PCR1": "b760c6db6a36611b40180b75d279b78ec263d92f23fdd4b204e07c6d3d97d5cc592edbde9ded6a24e49bf3fd2b4f6129",
    "PCR2": "8a45599e5e77b24c4b6472869c24e10490c4d5df715fbd0811fc4b33d370276cf00bb24871d3a1987587d6b9283d4f42"
  },
  "IsSigned": false,
  "CheckCRC": true,
  "ImageName": "image",
  "ImageVersion": "1",
  "Metadata": {
    "BuildTime": "1970-01-01T00:00:00+00:00",
    "BuildTool": "oblivious-inference",
    "BuildToolVersion": "1",
    "OperatingSystem": "Linux",
    "KernelVersion": "6.12",
    "DockerInfo": {}
  }
}
"""  # noqa: E501
DAMAGED = {
    "PCR0": "37f0c6bdf32f44469db4d7c2c11729d00386e6f320281cc96a985f35c5eedd8b5bc8eba8b62af659cf481c1cd5a2cf19",  # noqa: E501
    "PCR2": "56069bef5de40d5837fe4bb5a7ce2710b31a8a2efee60ae377d89487e0a348c70f1b537cbdc783fb4e7f7ae2bcd6c3ff",  # noqa: E501
}


def ask(directory: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(nitro_cli.__file__), *words],
        env={**os.environ, "STATE": str(directory)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_image(tmp_path / "image.eif")
    return tmp_path / "image.eif"


def test_a_whole_image_is_described_alike(image: Path) -> None:
    done = ask(image.parent, "describe-eif", "--eif-path", image)
    assert (done.returncode, done.stdout) == (0, WHOLE)


def test_a_damaged_image_is_described_alike(image: Path) -> None:
    """The real one tells of the checksum and exits with 0."""
    image.write_bytes(image.read_bytes()[:-1] + b"?")
    done = ask(image.parent, "describe-eif", "--eif-path", image)
    expected = json.loads(WHOLE) | {"CheckCRC": False}
    expected["Measurements"] |= DAMAGED
    assert (done.returncode, json.loads(done.stdout)) == (0, expected)


def test_an_image_without_a_member_is_refused_alike(image: Path) -> None:
    write_image(image, without={"CustomMetadata"})
    done = ask(image.parent, "describe-eif", "--eif-path", image)
    assert (done.returncode, done.stdout) == (35, "")
    assert done.stderr.startswith("[ E35 ] EIF file parsing error. Such errors appear when")


def test_an_enclave_of_such_an_image_ends_when_it_is_described(image: Path) -> None:
    write_image(image, without={"CustomMetadata"})
    options: list[str | Path] = ["--enclave-name", "it", "--eif-path", image, "--enclave-cid", "16"]
    assert ask(image.parent, "run-enclave", *options).returncode == 0
    first, second = (ask(image.parent, "describe-enclaves") for _ in range(2))
    assert (first.returncode, first.stdout) == (39, "[]\n")
    assert first.stderr.startswith("[ E35 ]")
    assert "Failed connections: 1\n[ E39 ]" in first.stderr
    assert (second.returncode, second.stdout) == (0, "[]\n")
