"""Settings of programs: docs/programs.md and the command say the same, each in its format."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from oblivious_client.cli import main
from oblivious_client.defaults import DEFAULT_MODEL
from oblivious_client.help_text import HELP
from oblivious_client.options import PROGRAMS
from oblivious_client.programs import RECIPES

DOCUMENT = Path(__file__).parents[2] / "docs" / "programs.md"
BLOCKS = re.findall(r"^```\w+\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
URL = "http://127.0.0.1:11435"


def test_each_program_has_settings_and_is_in_the_help() -> None:
    assert set(PROGRAMS) == set(RECIPES)
    assert all(name in " ".join(HELP.split()) for name in PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_document_says_what_the_command_prints(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OBLIVIOUS_MODEL", raising=False)
    assert main(["env", "--for", program]) == 0
    written = capsys.readouterr()
    assert written.out in BLOCKS
    assert RECIPES[program].place in written.err
    assert written.out == RECIPES[program].text(URL, DEFAULT_MODEL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_command_takes_another_model_and_place(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBLIVIOUS_MODEL", "from-the-environment")
    assert main(["env", "--for", program, "--listen", "[::1]:5"]) == 0
    assert "from-the-environment" in capsys.readouterr().out
    assert main(["env", "--for", program, "--listen", "[::1]:5", "--model", "large"]) == 0
    written = capsys.readouterr().out
    assert "http://[::1]:5" in written
    assert "large" in written
    assert URL not in written
    assert DEFAULT_MODEL not in written
    assert "{url}" not in written
    assert "{model}" not in written


def test_a_model_that_calls_no_tools_is_not_offered_any(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OBLIVIOUS_MODEL", raising=False)
    line = """export DEFAULT_MODEL_METADATA='{"capabilities": {"builtin_tools": false}}'\n"""
    assert RECIPES["openwebui"].text(URL, DEFAULT_MODEL) == (
        RECIPES["openwebui"].text(URL, "large").replace("large", DEFAULT_MODEL) + line
    )
    assert main(["env", "--for", "continue"]) == 0
    assert f"{DEFAULT_MODEL} calls no tools: start its command" in capsys.readouterr().err
    for program in ("codex", "claude-code", "opencode"):
        assert main(["env", "--for", program]) == 0
        assert "name another model with --model" in capsys.readouterr().err
        assert main(["env", "--for", program, "--model", "large"]) == 0
        assert "tools" not in capsys.readouterr().err


def settings(program: str) -> str:
    return RECIPES[program].text(URL, "large")


def variables(program: str) -> dict[str, str]:
    """Return what the lines for a shell export."""
    found: dict[str, str] = {}
    for each in settings(program).splitlines():
        export, *assignments = shlex.split(each)
        assert export == "export"
        for word in assignments:
            name, _, found[name] = word.partition("=")
    return found


def test_codex() -> None:
    read = tomllib.loads(settings("codex"))
    provider = read["model_providers"][read["model_provider"]]
    assert (read["model"], read["web_search"]) == ("large", "disabled")
    assert (provider["base_url"], provider["wire_api"]) == (f"{URL}/v1", "responses")


def test_what_belongs_into_a_shell() -> None:
    assert variables("claude-code")["ANTHROPIC_BASE_URL"] == URL
    assert variables("openwebui")["OPENAI_API_BASE_URL"] == f"{URL}/v1"
    aider = variables("aider")
    assert (aider["OPENAI_API_BASE"], aider["AIDER_MODEL"]) == (f"{URL}/v1", "openai/large")


def test_what_is_yaml() -> None:
    (model,) = yaml.safe_load(settings("continue"))["models"]
    assert (model["provider"], model["apiBase"], model["model"]) == ("openai", f"{URL}/v1", "large")
    (model,) = yaml.safe_load(settings("llm"))
    assert (model["api_base"], model["model_name"]) == (f"{URL}/v1", "large")


def test_opencode() -> None:
    read = json.loads(settings("opencode"))
    provider, name = read["model"].split("/")
    assert read["provider"][provider]["options"]["baseURL"] == f"{URL}/v1"
    assert name in read["provider"][provider]["models"]
    assert read["share"] == "disabled"
