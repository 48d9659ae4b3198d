"""The mirror: a module's own tests, those named after it, and those beside them."""

from pathlib import Path

from scripts.mutation.mirror import mirrored, neighbours, own_tests

MODULE = Path("protocol/inner/cose.py")
FOLDER = Path("tests/protocol/inner")


def checkout(root: Path, *names: str) -> Path:
    (root / FOLDER).mkdir(parents=True)
    for name in names:
        (root / FOLDER / name).touch()
    return root


def test_tests_stand_where_their_module_stands() -> None:
    assert mirrored(MODULE) == FOLDER / "test_cose.py"


def test_a_module_has_its_own_and_those_named_after_it(tmp_path: Path) -> None:
    names = ("test_cose.py", "test_cose_attacks.py", "test_cosexy.py", "test_cbor.py", "cose.py")
    root = checkout(tmp_path, *names)
    own = [FOLDER / "test_cose.py", FOLDER / "test_cose_attacks.py"]
    assert own_tests(MODULE, root) == own
    assert neighbours(MODULE, root) == [FOLDER / "test_cbor.py", FOLDER / "test_cosexy.py"]


def test_without_a_file_of_its_own_there_are_those_beside_it(tmp_path: Path) -> None:
    root = checkout(tmp_path, "test_cbor.py")
    assert own_tests(MODULE, root) == []
    assert neighbours(MODULE, root) == [FOLDER / "test_cbor.py"]


def test_an_exception_is_tested_where_it_says(tmp_path: Path) -> None:
    assert own_tests(Path("host_proxy/__main__.py"), tmp_path) == [
        Path("tests/host_proxy/test_cli.py")
    ]
