"""Set-up: what it decides, what it says, and that every failure says what to do."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.local import environment as setup

ROOT = Path(__file__).resolve().parents[3]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with all that decides about an environment, and an environment that runs."""
    locks = tmp_path / "scripts" / "requirements"
    locks.mkdir(parents=True)
    for name in ("runtime", "dev", "bench", "fuzz", "issuer", "model"):
        (locks / f"{name}.txt").write_text(f"{name}==1\n")
    for name in ("setup.cfg", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    return tmp_path


def display() -> tuple[setup.Display, io.StringIO]:
    stream = io.StringIO()
    return setup.Display(stream), stream


def test_an_environment_is_ready_once_it_is_stamped(checkout: Path) -> None:
    assert not setup.is_ready("runtime", checkout)
    setup.write_stamp("runtime", checkout)
    assert setup.is_ready("runtime", checkout)
    assert not setup.is_ready("dev", checkout)


def test_what_tests_need_holds_what_the_demo_needs(checkout: Path) -> None:
    setup.write_stamp("dev", checkout)
    assert setup.is_ready("runtime", checkout)


@pytest.mark.parametrize(
    "name", ["scripts/requirements/runtime.txt", "scripts/requirements/model.txt", "setup.cfg"]
)
def test_a_changed_file_makes_the_environment_old(checkout: Path, name: str) -> None:
    setup.write_stamp("runtime", checkout)
    (checkout / name).write_text("changed")
    assert not setup.is_ready("runtime", checkout)


def test_a_moved_checkout_makes_its_environment_anew(checkout: Path, tmp_path: Path) -> None:
    setup.write_stamp("runtime", checkout)
    moved = tmp_path / "moved"
    shutil.copytree(checkout, moved, symlinks=True, ignore=shutil.ignore_patterns("moved"))
    assert not setup.is_ready("runtime", moved)


@pytest.mark.parametrize("stamp", ["", "{", "[]", '"dev"', '{"dev": 1}'])
def test_a_broken_stamp_is_no_stamp(checkout: Path, stamp: str) -> None:
    (checkout / ".venv" / "installed.json").write_text(stamp)
    assert not setup.is_ready("dev", checkout)


def test_an_environment_whose_python_is_gone_is_not_ready(checkout: Path) -> None:
    setup.write_stamp("runtime", checkout)
    (checkout / ".venv" / "bin" / "python").unlink()
    assert not setup.is_ready("runtime", checkout)


def test_stamps_of_both_locks_live_side_by_side(checkout: Path) -> None:
    setup.write_stamp("runtime", checkout)
    setup.write_stamp("dev", checkout)
    assert set(json.loads((checkout / ".venv" / "installed.json").read_text())) == set(setup.LOCKS)


@pytest.mark.parametrize("addition", sorted({*setup.ADDITIONS} - {*setup.CONTAINED}))
def test_what_observing_and_fuzzing_need_comes_on_top(checkout: Path, addition: str) -> None:
    setup.write_stamp("dev", checkout)
    assert not setup.is_ready(addition, checkout)
    setup.write_stamp(addition, checkout)
    assert setup.is_ready(addition, checkout)
    assert setup.is_ready("dev", checkout)
    (checkout / ".venv" / "installed.json").write_text("{}")
    setup.write_stamp(addition, checkout)
    assert not setup.is_ready("runtime", checkout)


@pytest.mark.parametrize("addition", setup.CONTAINED)
def test_what_the_tests_need_anyway_is_there_with_them(checkout: Path, addition: str) -> None:
    setup.write_stamp("runtime", checkout)
    assert not setup.is_ready(addition, checkout)
    setup.write_stamp("dev", checkout)
    assert setup.is_ready(addition, checkout)
    (checkout / ".venv" / "installed.json").write_text("{}")
    setup.write_stamp(addition, checkout)
    assert setup.is_ready(addition, checkout)
    assert not setup.is_ready("dev", checkout)


@pytest.mark.parametrize("lock", [*setup.LOCKS, *setup.ADDITIONS])
def test_whatever_was_installed_brought_the_model_and_the_project(
    checkout: Path, lock: str
) -> None:
    assert not setup.has_base(checkout)
    setup.write_stamp(lock, checkout)
    assert setup.has_base(checkout)
    (checkout / "setup.cfg").write_text("changed")
    assert not setup.has_base(checkout)


@pytest.mark.parametrize("there", [False, True])
def test_what_is_there_is_not_installed_again(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    monkeypatch.setattr(setup, "watch", lambda command, label, shown: labels.append(label))
    monkeypatch.setattr(setup, "has_base", lambda: there)
    setup.install(Path(sys.executable), "bench", display()[0])
    more = ["installing the model (about 110 MB)", "installing this project"]
    assert labels == ["installing bench.txt", *([] if there else more)]


def test_a_command_that_goes_well_is_one_line() -> None:
    shown, stream = display()
    setup.watch([sys.executable, "-c", "print('much')"], "installing", shown)
    assert re.fullmatch(r"installing: done in \d+ s\n", stream.getvalue())


def test_a_command_that_fails_shows_its_last_lines() -> None:
    shown, _ = display()
    code = "import sys; [print(n) for n in range(100)]; sys.exit('what went wrong')"
    with pytest.raises(setup.CommandError) as failure:
        setup.watch([sys.executable, "-c", code], "installing", shown)
    lines = failure.value.output.splitlines()
    assert len(lines) == setup.KEPT_LINES
    assert "what went wrong" in lines


@pytest.mark.parametrize(
    ("stream", "expected"),
    [(Terminal(), "\r\x1b[Ka\r\x1b[Kb\r\x1b[Kend\n"), (io.StringIO(), "a\nb\nend\n")],
    ids=["terminal", "elsewhere"],
)
def test_progress_moves_on_a_terminal_and_adds_lines_elsewhere(
    stream: io.StringIO, expected: str
) -> None:
    shown = setup.Display(stream)
    shown.progress("a", 100.0)
    shown.progress("too soon", 100.1)
    shown.progress("b", 106.0)
    shown.say("end")
    assert stream.getvalue() == expected


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the one that the lock names"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Could not find a version that satisfies", "reaches its package index"),
    ],
)
def test_every_failure_of_pip_gets_advice(output: str, advice: str) -> None:
    assert advice in setup.pip_advice(output)


def test_other_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(setup.SetupError, match="Linux on x86-64 only"):
        setup.check_machine()


def test_a_full_disk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "FREE_BYTES", 1 << 60)
    with pytest.raises(setup.SetupError, match=r"is free at .*: make room there"):
        setup.check_machine()


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"altered")
    with pytest.raises(setup.SetupError, match=r"remove \.venv and run this again"):
        setup.check_weights(weights)


def test_missing_weights_are_said_to_be_missing() -> None:
    with pytest.raises(setup.SetupError, match="weights are missing"):
        setup.find_weights(Path("/bin/true"))


def fake_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a program named apt-get first in the path, and be root; return what records its use."""
    record = tmp_path / "record"
    program = tmp_path / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$@" >> {record}\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return record


def test_a_missing_library_is_installed_by_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fake_apt(tmp_path, monkeypatch, "exit 0")
    shown, stream = display()
    setup.require_package("libgomp1", "The engine needs it.", shown)
    assert "install libgomp1" in record.read_text()
    assert "installing system packages: libgomp1" in stream.getvalue()


def test_a_missing_library_is_asked_for_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(setup.SetupError, match=r"Install it: apt-get install libgomp1"):
        setup.require_package("libgomp1", "The engine needs it.", display()[0])


def test_a_library_that_cannot_be_installed_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_apt(tmp_path, monkeypatch, "echo no network; exit 100")
    with pytest.raises(setup.SetupError, match=r"no network\n.* apt-get install libgomp1"):
        setup.require_package("libgomp1", "The engine needs it.", display()[0])


@pytest.mark.parametrize(("user", "said"), [(1000, "to run them: apt-get"), (0, "failed")])
def test_programs_that_tests_miss_are_never_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, said: str
) -> None:
    fake_apt(tmp_path, monkeypatch, "exit 100")
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(setup, "TEST_PROGRAMS", {"no-such-program": "no-such-package"})
    shown, stream = display()
    setup.install_test_programs(shown)
    assert "will be skipped" in stream.getvalue()
    assert said in stream.getvalue()


def test_set_up_that_fails_is_one_sentence_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: str, __: setup.Display) -> None:
        raise setup.SetupError("Do this.")

    monkeypatch.setattr(setup, "set_up", fail)
    monkeypatch.setattr(sys, "argv", ["setup.py", "runtime"])
    assert setup.main() == 1
    assert capsys.readouterr().err == "error: Do this.\n"


def interrupted(_: str, __: setup.Display) -> None:
    raise KeyboardInterrupt


def test_set_up_can_be_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "set_up", interrupted)
    monkeypatch.setattr(sys, "argv", ["setup.py", "dev"])
    assert setup.main() == 130
    assert "run this again" in capsys.readouterr().err


def test_two_set_ups_in_one_checkout_wait_for_each_other() -> None:
    shown, stream = display()
    with setup.one_at_a_time(shown):
        code = (
            "import sys; from scripts.local import environment as setup\n"
            "d = setup.Display(sys.stdout)\n"
            "with setup.one_at_a_time(d): d.say('in')"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert other.stdout is not None
        assert "waiting for another" in other.stdout.readline()
    assert other.stdout.readline() == "in\n"
    other.stdout.close()
    assert other.wait(300) == 0
    assert stream.getvalue() == ""


@pytest.mark.parametrize("command", ["demo", "test", "check"])
def test_without_a_python_every_command_says_what_to_do(tmp_path: Path, command: str) -> None:
    for name in ("bash", "dirname", "readlink"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # what any Python before 3.11 answers
    old.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "bash", str(ROOT / "scripts" / command)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no Python 3.11 or newer was found. Install one" in done.stderr


def test_a_python_can_be_named_wherever_it_is(tmp_path: Path) -> None:
    named = tmp_path / "a folder" / "python"
    named.parent.mkdir()
    named.symlink_to(sys.executable)
    source = f'. "{ROOT / "scripts" / "find-python"}"; echo "$PYTHON"'
    done = subprocess.run(
        ["bash", "-c", source],
        env=os.environ | {"OBLIVIOUS_PYTHON": str(named)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{named}\n", "")


def program(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program or, after "-m", a module of the checkout."""
    command = [sys.executable, "-B", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_relay_says_what_it_needs() -> None:
    done = program("scripts/relay.py", "--listen", "tcp://127.0.0.1:0", "--gateway", "nonsense")
    assert done.returncode == 2
    assert "not a gateway's address: 'nonsense'" in done.stderr
    bare = [sys.executable, "-S", str(ROOT / "scripts" / "relay.py"), "--help"]
    done = subprocess.run(bare, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: h11 is missing")
    assert len(done.stderr.splitlines()) == 1


def test_measuring_explains_itself_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    done = program("-m", "scripts.image.measure", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "scripts/measure-eif FILE" in done.stdout
    done = program("-m", "scripts.image.measure", tmp_path / "absent")
    assert done.returncode == 1
    assert (
        done.stderr
        == f"measure-eif: cannot read {tmp_path / 'absent'}: No such file or directory\n"
    )


def test_an_image_is_not_built_around_settings_that_will_not_do(tmp_path: Path) -> None:
    build = ("-m", "scripts.image.build")
    config = tmp_path / "wrong.toml"
    work = tmp_path / "work"
    for settings, named in (
        ("[server]\nlisten_at = 5\n", "listen_at"),
        ("[upstreams.a]\naddress = 'vsock://3:8001'\n", "host_name"),
        (f"[engine]\nmodel_file = '{config}'\nsha256 = '00'\n", "would not be in the image"),
    ):
        config.write_text(settings)
        done = program(*build, "--config", config, "--work", work, "--out", tmp_path / "x")
        assert done.returncode == 1
        assert named in done.stderr
    done = program(*build, "--kernel", tmp_path / "absent", "--work", work)
    assert done.returncode == 1
    assert str(tmp_path / "absent") in done.stderr
    done = program(*build, "--without-weights", "--work", work, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "needs its weights" in done.stderr
    assert not work.exists()


@pytest.mark.parametrize("name", ["test", "check", "interop"])
def test_help_comes_before_anything_is_set_up(name: str, tmp_path: Path) -> None:
    script = tmp_path / name  # there is nothing beside it that could be run
    shutil.copy(ROOT / "scripts" / name, script)
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith(".")


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("demo", "local/demo.py"),
        ("bench", "benchmark/bench.py"),
        ("leak", "observer/leak.py"),
        ("enclave-test", "emulation/trial.py"),
        ("build-eif", "image/build.py"),
        ("measure-eif", "image/measure.py"),
        ("describe-eif", "image/reader.py"),
        ("sbom", "image/sbom.py"),
    ],
)
def test_help_of_programs_comes_before_anything_is_set_up(
    name: str, module: str, tmp_path: Path
) -> None:
    scripts = tmp_path / "scripts"  # without local/environment.py
    (scripts / module).parent.mkdir(parents=True)
    for file in (name, "find-python", module):
        shutil.copy(ROOT / "scripts" / file, scripts / file)
    done = subprocess.run([scripts / name, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"    scripts/{name} " in done.stdout
    assert '"""' not in done.stdout
    assert "import" not in done.stdout


@pytest.mark.parametrize("name", ["demo", "test"])
def test_a_command_is_found_through_a_link(name: str, tmp_path: Path) -> None:
    """Its checkout is the one that the link leads to, whatever the folder it is called from."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    (checkout / "scripts" / "local").mkdir(parents=True)
    elsewhere.mkdir()
    for file in (name, "find-python"):
        shutil.copy(ROOT / "scripts" / file, checkout / "scripts")
    (checkout / "scripts/local/environment.py").write_text("import os, sys; sys.exit(os.getcwd())")
    (elsewhere / "link").symlink_to(checkout / "scripts" / name)
    done = subprocess.run(
        ["./link", "hello"], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"{checkout}\n")


@pytest.mark.parametrize("name", ["demo", "test", "check", "relay_check", "relay.py"])
def test_commands_can_be_run(name: str) -> None:
    assert os.access(ROOT / "scripts" / name, os.X_OK)


@pytest.mark.slow
def test_a_fresh_checkout_is_set_up_and_then_quick(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    ignore: Callable[[str, list[str]], set[str]] = shutil.ignore_patterns(
        ".venv", ".git", ".*cache"
    )
    shutil.copytree(ROOT, fresh, ignore=ignore)
    command = [sys.executable, str(fresh / "scripts/local/environment.py"), "runtime"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert first.returncode == 0, first.stderr
    assert first.stdout == ""
    assert "weights have the expected SHA-256" in first.stderr
    begun = time.monotonic()
    second = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert (second.stdout, second.stderr) == ("", "")
    assert time.monotonic() - begun < 10  # no second set-up; generous, for a busy machine
