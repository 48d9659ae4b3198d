"""The wheel: what it says of itself, and that the client works without the server's packages."""

import email
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from email.message import Message
from pathlib import Path

import pytest

from enclave_server.__main__ import EXTRA
from tests.support.enclave import DEADLINE
from token_issuer.__main__ import EXTRA as ISSUER_EXTRA

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol", "enclave_server", "host_proxy", "oblivious_client", "token_issuer")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel that was built of a copy, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip(["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)])
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip(["install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)])
    return folder


def pip(arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)


def run(
    installed: Path, code: str, missing: Sequence[str] = EXTRA
) -> subprocess.CompletedProcess[str]:
    """Run `code` on the installed packages, where some others are missing."""
    without = f"import sys; sys.modules |= dict.fromkeys({tuple(missing)!r})"
    return subprocess.run(
        [sys.executable, "-P", "-c", f"{without}; {code}"],
        env={"PYTHONPATH": str(installed)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_metadata_say_what_it_is(wheel: Path) -> None:
    said = metadata(wheel)
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    names = zipfile.ZipFile(wheel).namelist()
    assert all(f"{package}/py.typed" in names for package in PACKAGES)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "scripts"))]


def test_the_client_asks_for_nothing_of_the_server(wheel: Path) -> None:
    needed = metadata(wheel).get_all("Requires-Dist", [])
    base = [each for each in needed if "extra" not in each]
    assert sorted(each.split(";")[0].split("<")[0].split(">")[0] for each in base) == [
        "anyio",
        "cbor2",
        "cryptography",
        "h11",
        "httpcore",
        "httpx",
    ]
    assert "h11>=0.16" in base  # those before read requests otherwise than their readers do
    extra = [each for each in needed if 'extra == "server"' in each]
    assert {each.split(">")[0] for each in extra} == set(EXTRA)
    extra = [each for each in needed if 'extra == "issuer"' in each]
    names = {each.split(">")[0].partition("[")[0].replace("-", "_") for each in extra}
    assert names == set(ISSUER_EXTRA)


def test_the_client_works_without_the_servers_packages(installed: Path) -> None:
    shown = run(installed, "from oblivious_client.cli import main; sys.exit(main(['--version']))")
    assert (shown.returncode, shown.stdout) == (0, "oblivious-client 0.1.0\n"), shown.stderr
    shown = run(installed, "from oblivious_client.cli import main; sys.exit(main(['--help']))")
    assert shown.returncode == 0
    assert "usage:" in shown.stdout
    where = run(installed, "import oblivious_client; print(oblivious_client.__file__)")
    assert where.stdout.startswith(str(installed))


def test_the_server_says_in_one_sentence_what_to_install(installed: Path) -> None:
    shown = run(installed, "from enclave_server.__main__ import main; sys.exit(main())")
    assert shown.returncode == 2
    assert shown.stderr == (
        "enclave-server: msgspec is missing: "
        "install the server's packages with pip install '.[server]' in a checkout\n"
    )


@pytest.mark.parametrize("missing", ["alembic", "msgspec", "sqlalchemy"])
def test_the_issuer_says_in_one_sentence_what_to_install(installed: Path, missing: str) -> None:
    code = "from token_issuer.__main__ import main; sys.exit(main())"
    shown = run(installed, code, [missing])
    assert shown.returncode == 2
    assert shown.stderr == (
        f"token-issuer: {missing} is missing: "
        "install the issuer's packages with pip install '.[issuer]' in a checkout\n"
    )


def test_another_missing_package_is_not_hidden(installed: Path) -> None:
    shown = run(installed, "from enclave_server.__main__ import main; main()", ["cryptography"])
    assert shown.returncode == 1
    assert "ModuleNotFoundError: No module named 'cryptography" in shown.stderr
