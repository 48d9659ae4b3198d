"""The local endpoint's image and compose file: what they name is there, and no door is open."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from oblivious_client import options
from oblivious_client.local.access import SHORTEST_KEY
from oblivious_client.programs import RECIPES

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "scripts" / "deploy" / "serve"
IMAGE = (FOLDER / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICE, WEBUI = COMPOSE["services"]["oblivious"], COMPOSE["services"]["open-webui"]


def instruction(name: str) -> list[str]:
    """Return the words of the last instruction of that name."""
    found = re.findall(rf"^{name} (\[.*?\])", IMAGE, re.MULTILINE | re.DOTALL)
    words: list[str] = json.loads(found[-1].replace("\\\n", ""))
    return words


def test_the_base_is_the_one_that_the_enclaves_image_names() -> None:
    enclave = (FOLDER.parent / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG BASE=(\S+@sha256:[0-9a-f]{64})$", IMAGE, re.MULTILINE)
    assert f"ARG BASE={base}\n" in enclave


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    kept = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [line.split()[1] for line in IMAGE.splitlines() if line.startswith("COPY ")]
    assert copied == ["scripts/requirements/client.txt", "protocol", "oblivious_client"]
    for each in copied:
        assert (ROOT / each).exists()
        assert f"!{each}" in kept
    assert kept[1] == "*"


def test_it_serves_as_somebody_without_rights_and_only_with_a_key() -> None:
    assert re.search(r"^USER [1-9][0-9]+$", IMAGE, re.MULTILINE)
    assert instruction("ENTRYPOINT") == ["python3", "-m", "oblivious_client"]
    chosen = options.parse(instruction("CMD"), tuple(options.PARSERS))
    assert chosen.listen == "0.0.0.0:11435"
    assert chosen.api_key == Path("/run/secrets/api-key")
    assert not chosen.allow_simulated
    (health,) = re.findall(r'CMD \["python3", "-m", "oblivious_client", (.*?)\]', IMAGE)
    words = [word.strip('",') for word in health.split()]
    assert options.parse(words, tuple(options.PARSERS)).action == "status"


def test_the_files_agree_on_name_key_and_place() -> None:
    chosen = options.parse(instruction("CMD"), tuple(options.PARSERS))
    environment = WEBUI["environment"]
    assert environment["OPENAI_API_BASE_URL"] == "http://oblivious:11435/v1"
    assert chosen.allow_host == ["oblivious"]
    assert chosen.api_key.name in COMPOSE["secrets"]
    assert chosen.api_key.name in SERVICE["secrets"]
    assert f"./pcrs.json:{chosen.pcrs}:ro" in SERVICE["volumes"]
    build = SERVICE["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert "rand -hex 32" in (ROOT / "docs" / "serve.md").read_text()
    assert SHORTEST_KEY <= 2 * 32


def test_only_the_page_has_a_port_and_only_the_endpoint_a_way_out() -> None:
    assert "ports" not in SERVICE
    assert WEBUI["ports"] == ["127.0.0.1:3000:8080"]
    assert COMPOSE["networks"]["asking"] == {"internal": True}
    assert SERVICE["networks"] == ["asking", "outside"]
    assert WEBUI["networks"] == ["asking", "published"]
    assert SERVICE["read_only"] is True
    assert SERVICE["cap_drop"] == ["ALL"]


def test_open_webui_is_told_what_the_recipe_tells_it() -> None:
    told: dict[str, str] = {}
    for line in RECIPES["openwebui"].text("http://oblivious:11435", "m").splitlines():
        told |= dict(word.split("=", 1) for word in shlex.split(line)[1:])
    told = {name: value for name, value in told.items() if name != "DEFAULT_MODELS"}
    assert {**WEBUI["environment"], "OPENAI_API_KEY": "none"} == told
