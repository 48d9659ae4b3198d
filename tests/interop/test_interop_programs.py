"""Other people's programs through the whole path: in minutes, so `-m slow`.

Client, relay, host proxy and a simulated enclave server are as they are deployed; the provider is a
stand-in, which calls the tools that it is offered (tests/support/reacting_provider.py).
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oblivious_client.programs import RECIPES
from scripts.local.stack import POLL_SECONDS, ROOT, Child, Stack
from scripts.local.stack import PROGRAMS as OURS
from tests.interop.peers import BUILT, SOURCES, build, copy_changed
from tests.support.enclave import running_upstream
from tests.support.reacting_provider import SEEN, TEXT, THOUGHT, TOLD, reacting

pytestmark = pytest.mark.slow

FOLDER = SOURCES / "programs"
LOCKS = ROOT / "scripts" / "requirements"
ASK_SECONDS = 300.0
START_SECONDS = 600.0  # Open WebUI's, on a machine that may be busy; 25 on an idle one

CONFIG = """
[[models]]
name = "large"
upstream = "chat"

[[models]]
name = "gemini"
upstream = "gemini"

[upstreams.chat]
address = "{address}"

[upstreams.gemini]
address = "{address}"
dialect = "gemini"
"""

Command = list[str | Path]
WEATHER = f"{TOLD}sunny in Paris"
SAID: dict[str, tuple[str, ...]] = {
    "chat": (TEXT,),
    "stream": (TEXT,),
    "tools": (WEATHER,),
    "streamed tools": (WEATHER,),
    "structured": ('{"city": "Paris"}',),
    "reasoning": (THOUGHT, WEATHER),  # what was thought, or that it goes on after a thought
    "image": (SEEN,),
}


def need(*programs: str) -> None:
    if missing := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"interop: {', '.join(missing)} not installed")


def installed(name: str, lock: Path, *options: str) -> Path:
    """Return the folder of an environment's commands, in which the locked packages are."""
    environment = BUILT / name
    stamp, digest = environment / "installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    commands = environment / "bin"
    if not stamp.exists() or stamp.read_text() != digest:
        build([sys.executable, "-m", "venv", "--clear", environment], "programs")
        pip: Command = [commands / "python", "-m", "pip", "install", "-q", "--no-compile"]
        build([*pip, "--require-hashes", *options, "-r", lock], "programs")
        stamp.write_text(digest)
    return commands


def python(name: str) -> Command:
    """Return the command of a program in Python, in an environment of the locked packages."""
    return [installed("programs-python", LOCKS / "programs.txt") / "python", FOLDER / name]


def javascript() -> Path:
    """Return the folder of the locked packages of JavaScript, and of a copy of what asks."""
    need("node", "npm")
    folder = BUILT / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    changed = copy_changed(FOLDER, folder)
    if "package-lock.json" in changed or not (folder / "node_modules").is_dir():
        options = ["--ignore-scripts", "--no-save", "--no-audit", "--no-fund", "--silent"]
        # `npm ci` misses optional packages for other machines that are not published.
        build(["npm", "install", *options, "--prefix", folder], "programs")
    return folder


def go() -> Command:
    """Return the command of the program in Go."""
    need("go")
    program = BUILT / "programs-go"
    build(["go", "build", "-mod=readonly", "-trimpath", "-o", program, "main.go"], "programs")
    return [program]


def wait_until_taken(child: Child, place: tuple[str, int]) -> None:
    """Return when somebody listens at `place`."""
    while child.process.poll() is None:
        try:
            socket.create_connection(place).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise AssertionError(child.complaint("ended"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The local endpoint's address, in front of the whole path."""
    configuration = tmp_path_factory.mktemp("programs") / "config.toml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        taken = free.getsockname()
        place = f"127.0.0.1:{taken[1]}"
    with running_upstream(reacting) as upstream:
        configuration.write_text(CONFIG.format(address=upstream.address))
        with Stack(server_options=["--config", configuration]) as stack:
            options = ["--relay", stack.relay, "--allow-simulated", "--listen", place]
            child = Child("local endpoint", [OURS / "oblivious-client", "serve", *options], {})
            try:
                wait_until_taken(child, taken)
                yield f"http://{place}"
            finally:
                child.stop()


def run(command: Command, place: Path, **variables: str) -> str:
    """Return what a program prints, which finds no settings or keys of this machine."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=place,
        env=kept | {"HOME": str(place), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ASK_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


class OpenWebUI:
    """Open WebUI with the settings that `env` prints, and its first user, who manages it."""

    def __init__(self, place: Path, address: str) -> None:
        commands = installed("open-webui", LOCKS / "open-webui.txt", "--no-deps")
        with socket.create_server(("127.0.0.1", 0)) as free:
            taken = free.getsockname()
        shown = RECIPES["openwebui"].text(address, "large")
        command = f"{shown}cd {place}\nexec {commands / 'open-webui'} serve"
        serve: Command = ["/bin/sh", "-euc", f"{command} --host 127.0.0.1 --port {taken[1]}"]
        own = {"HOME": str(place), "DATA_DIR": str(place), "HF_HUB_OFFLINE": "1"}
        self.child = Child("Open WebUI", serve, own)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{taken[1]}", timeout=ASK_SECONDS)

    def sign_up(self) -> None:
        """Wait until it answers, and be its first user."""
        deadline = time.monotonic() + START_SECONDS
        while not self._is_up():
            assert self.child.process.poll() is None, self.child.complaint("ended")
            assert time.monotonic() < deadline, self.child.complaint("did not start")
            time.sleep(POLL_SECONDS)
        who = {"name": "Ada", "email": "ada@example.org", "password": "word-of-ada"}
        token = self.client.post("/api/v1/auths/signup", json=who).raise_for_status().json()
        self.client.headers["Authorization"] = f"Bearer {token['token']}"

    def _is_up(self) -> bool:
        try:
            return self.client.get("/health").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self.child.stop()


def test_open_webui_is_answered(address: str, tmp_path: Path) -> None:
    """By its own API, which asks as its page does but for the tools of that."""
    if sys.version_info >= (3, 13):
        pytest.skip("interop: Open WebUI's lock is for CPython 3.11 and 3.12")
    program = OpenWebUI(tmp_path, address)
    try:
        program.sign_up()
        listed = program.client.get("/api/models").raise_for_status().json()["data"]
        assert {"large", "gemini"} <= {model["id"] for model in listed}
        asked = {"model": "large", "messages": [{"role": "user", "content": "Which city?"}]}
        for model in ("large", "gemini"):
            asked["model"] = model
            whole = program.client.post("/api/chat/completions", json=asked).raise_for_status()
            assert whole.json()["choices"][0]["message"]["content"] == TEXT
            streamed = program.client.post("/api/chat/completions", json={**asked, "stream": True})
            lines = [line.removeprefix("data: ") for line in streamed.text.split("\n") if line]
            assert lines.pop() == "[DONE]"
            deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
            assert "".join(each.get("content") or "" for each in deltas).strip() == TEXT
    finally:
        program.stop()


COMMANDS: dict[str, Callable[[], Command]] = {
    "LangChain": lambda: python("langchain_program.py"),
    "pydantic-ai": lambda: python("pydantic_ai_program.py"),
    "openai-agents": lambda: python("openai_agents_program.py"),
    "AI SDK": lambda: ["node", javascript() / "ai_sdk_program.mjs"],
    "openai for Go": go,
}


@pytest.mark.parametrize("program", COMMANDS)
def test_a_program_is_answered_over_each_api(program: str, address: str, tmp_path: Path) -> None:
    said: dict[str, dict[str, Any]] = json.loads(
        run([*COMMANDS[program](), address, "large"], tmp_path)
    )
    assert said.keys() & {"chat completions", "Responses"}
    for api, answers in said.items():
        assert {"chat", "stream"} <= answers.keys() <= SAID.keys()
        for question, answer in answers.items():
            text = answer.strip()
            if question == "structured":
                text = json.dumps(json.loads(text))
            assert text in SAID[question], (api, question)


def variables_of(agent: str, address: str, model: str) -> dict[str, str]:
    if agent == "Claude Code":
        return {
            "ANTHROPIC_BASE_URL": address,
            "ANTHROPIC_API_KEY": "none",
            "ANTHROPIC_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        }
    return {"OPENAI_BASE_URL": f"{address}/v1", "OPENAI_API_KEY": "none", "OPENAI_MODEL": model}


AGENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Continue": ("@continuedev/cli/dist/cn.js", ("--auto", "-p", "Write a word into made.txt")),
    "Claude Code": (
        "@anthropic-ai/claude-code-linux-x64/claude",
        ("--allowedTools", "Bash", "-p", "Write a word into made.txt"),
    ),
    "qwen-code": (
        "@qwen-code/qwen-code/cli.js",
        ("--auth-type", "openai", "-y", "-p", "Write a word into made.txt"),
    ),
}


@pytest.mark.parametrize("model", ["large", "gemini"])
@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_runs_what_it_is_told_to(
    agent: str, model: str, address: str, tmp_path: Path
) -> None:
    file, options = AGENTS[agent]
    program = javascript() / "node_modules" / file
    if not program.exists():
        pytest.skip(f"interop: {agent} is not published for this kind of machine")
    command: Command = ["node", program] if program.suffix == ".js" else [program]
    if agent == "Continue":
        configuration = tmp_path / ".continue" / "config.yaml"
        configuration.parent.mkdir()
        configuration.write_text(RECIPES["continue"].text(address, model))
    variables = variables_of(agent, address, model)
    assert TOLD in run([*command, *options], tmp_path, **variables)
    assert (tmp_path / "made.txt").read_text() == "oblivious\n"
