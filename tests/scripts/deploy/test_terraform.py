"""The Terraform module: the provider's arguments, references that lead somewhere, its script.

`aws_arguments.json` holds the provider's arguments as its generated bindings list them; `terraform
validate` itself needs the provider, which no package registry has.
"""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest

MODULE = Path(__file__).parents[3] / "scripts" / "deploy" / "terraform"
KNOWN: dict[str, Any] = json.loads(Path(__file__).with_name("aws_arguments.json").read_text())["of"]
META = {"for_each", "count", "depends_on", "lifecycle", "provider"}

Block = dict[str, Any]


def plain(value: Any) -> Any:
    """Return what hcl2 read without its marks: quotes around strings, members of its own."""
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items() if key[:2] != "__"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def read(name: str) -> Block:
    with (MODULE / name).open() as file:
        found: Block = plain(hcl2.load(file))
    return found


def declared(document: Block) -> dict[str, Block]:
    """Return the resources and data sources of a document by kind, type and name."""
    return {
        f"{kind}.{kind_of}.{name}": body
        for kind in ("resource", "data")
        for entry in document.get(kind, [])
        for kind_of, named in entry.items()
        for name, body in named.items()
    }


MAIN = declared(read("main.tf"))
VARIABLES = {
    name: body for entry in read("variables.tf")["variable"] for name, body in entry.items()
}


def resource(name: str) -> Block:
    return MAIN[f"resource.{name}"]


def faults(place: str, body: Block, known: Block) -> Iterator[str]:
    """Yield what a block gives that the provider does not know, and what it lacks."""
    blocks, required = known.get("blocks", {}), set(known.get("required", ()))
    arguments = required | set(known.get("arguments", ()))
    for name in body.keys() - META:
        if name in blocks:
            for each in body[name]:
                yield from faults(f"{place}.{name}", each, blocks[name])
        elif name not in arguments:
            yield f"{place} has no {name}"
    yield from (f"{place} needs {name}" for name in required - body.keys())


@pytest.mark.parametrize("name", MAIN)
def test_every_argument_is_one_of_the_providers(name: str) -> None:
    assert list(faults(name, MAIN[name], KNOWN[name.rpartition(".")[0]])) == []


def test_wrong_arguments_are_noticed() -> None:
    known = KNOWN["resource.aws_launch_template"]
    wrong = {"image": "ami-1", "metadata_options": [{"http_tokenz": "required"}]}
    assert sorted(faults("it", wrong, known)) == [
        "it has no image",
        "it.metadata_options has no http_tokenz",
    ]
    assert list(faults("it", {}, KNOWN["resource.aws_iam_role_policy_attachment"]))


def references() -> set[tuple[str, str, str]]:
    """Return every reference in the module to a resource or data source: what, which, attribute."""
    text = "".join((MODULE / name).read_text() for name in ("main.tf", "outputs.tf"))
    found = re.findall(r"\b(data\.)?(aws_\w+)\.(\w+)\.(\w+)", text)
    return {
        (f"{data or 'resource.'}{kind}", name, attribute) for data, kind, name, attribute in found
    }


def test_every_reference_leads_to_something_that_exports_it() -> None:
    assert len(references()) > 8
    for kind, name, attribute in references():
        assert f"{kind}.{name}" in MAIN
        parts = ("required", "arguments", "exported")
        exported = [each for part in parts for each in KNOWN[kind].get(part, ())]
        assert attribute in exported, f"{kind}.{name} has no {attribute}"


def test_every_variable_is_used_and_every_used_one_is_declared() -> None:
    text = "".join((MODULE / name).read_text() for name in ("main.tf", "outputs.tf"))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == VARIABLES.keys()
    assert all({"type", "description"} <= body.keys() for body in VARIABLES.values())


def test_only_relays_get_in_and_only_at_the_front() -> None:
    rules = [body for name, body in MAIN.items() if "ingress" in name]
    (rule,) = rules
    assert rule["for_each"] == "${var.relays}"
    assert (rule["cidr_ipv4"], rule["from_port"], rule["to_port"]) == ("${each.value}", 443, 443)
    assert "ingress" not in resource("aws_security_group.host")


def test_the_instance_has_enclaves_and_nothing_to_steal() -> None:
    template = resource("aws_launch_template.host")
    assert template["enclave_options"] == [{"enabled": True}]
    (metadata,) = template["metadata_options"]
    assert metadata["http_tokens"] == "required"
    assert template["block_device_mappings"][0]["ebs"][0]["encrypted"] is True
    assert "key_name" not in template
    policies = [body["policy_arn"] for name, body in MAIN.items() if "policy_attachment" in name]
    assert policies == ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]


def test_the_readme_gives_what_the_module_demands() -> None:
    example = re.search(r"```hcl\n(.*?)```", (MODULE / "README.md").read_text(), re.DOTALL)
    assert example is not None
    given = plain(hcl2.loads(example[1]))["module"][0]["gateway"].keys() - {"source"}
    assert given <= VARIABLES.keys()
    assert {name for name, body in VARIABLES.items() if "default" not in body} == given


# --- the script of the first start

VALUES = {
    "repository": "https://git.example.com/project.git",
    "commit": "0" * 40,
    "image_url": "https://releases.example.com/image.eif",
    "pcrs": base64.b64encode(b'{"PCR0": "..."}\n').decode(),
    "enclave_cpus": "2",
    "enclave_mib": "2048",
}
STAND_IN = '#!/bin/sh\necho "$(basename "$0") $*" >>"$STATE/calls"\n'


def rendered(place: Path) -> str:
    """Return the script as the template function makes it, its place moved to `place`."""
    text = (MODULE / "user-data.sh.tftpl").read_text()
    text = re.sub(r"\$\{(\w+)\}", lambda found: VALUES[found[1]], text)
    assert "/opt/oblivious-inference-release" in text
    return text.replace("/opt/oblivious-inference-release", str(place))


def test_the_script_is_given_what_it_asks_for() -> None:
    given = re.search(
        r"user-data\.sh\.tftpl\", \{\n(.*?)\}\)", (MODULE / "main.tf").read_text(), re.S
    )
    assert given is not None
    passed = set(re.findall(r"^ +(\w+) +=", given[1], re.MULTILINE))
    asked = set(re.findall(r"\$\{(\w+)\}", (MODULE / "user-data.sh.tftpl").read_text()))
    assert passed == asked == VALUES.keys()


def allowed(name: str) -> re.Pattern[str]:
    """Return the expression that the values of a variable have to match."""
    (validation,) = VARIABLES[name]["validation"]
    found = re.search(r'regex\("(.*)", var', validation["condition"])
    assert found is not None
    return re.compile(found[1])


@pytest.mark.parametrize("name", ["repository", "image_url"])
def test_an_address_has_nothing_that_a_shell_would_read(name: str) -> None:
    pattern = allowed(name)
    assert pattern.fullmatch(VALUES[name])
    for character in "\"'`$\\;|<>(){}*!#\n \t":
        assert not pattern.fullmatch(VALUES[name] + character)
        assert not pattern.fullmatch(f"{VALUES[name]}{character}x")
    assert not pattern.fullmatch("http://git.example.com/x")
    assert not pattern.fullmatch(f"--upload-pack=x {VALUES[name]}")


def test_an_image_may_be_had_from_a_signed_address() -> None:
    query = "?X-Amz-Credential=AKIA%2F20261129%2Fs3&X-Amz-Date=20261129T000000Z&X-Amz-Signature=0a"
    assert allowed("image_url").fullmatch(VALUES["image_url"] + query)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_the_script(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(rendered(tmp_path))
    subprocess.run(["shellcheck", script], check=True, timeout=300)


class Instance:
    """Stand-ins for what the script calls, and a checkout's install-host."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.place = directory, directory / "release"
        install = self.place / "scripts/deploy/install-host"
        install.parent.mkdir(parents=True)
        for program in (install, *(directory / name for name in ("dnf", "git", "curl"))):
            program.write_text(STAND_IN)
            program.chmod(0o755)

    def start(self) -> tuple[int, list[str]]:
        """Run the script; return its exit code and what was called."""
        done = subprocess.run(
            ["bash", "-c", rendered(self.place)],
            env={"PATH": f"{self.directory}:/usr/bin:/bin", "STATE": str(self.directory)},
            check=False,
            timeout=300,
        )
        return done.returncode, (self.directory / "calls").read_text().splitlines()


def test_the_script_installs_the_pinned_image(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    code, calls = instance.start()
    assert code == 0
    assert [call.split()[0] for call in calls] == [
        "dnf",
        "git",
        "git",
        "git",
        "curl",
        "install-host",
    ]
    assert calls[2].endswith(f"fetch --quiet --depth 1 {VALUES['repository']} {VALUES['commit']}")
    assert calls[-1] == "install-host --image image.eif --pcrs pcrs.json --cpus 2 --memory 2048"
    assert (instance.place / "pcrs.json").read_text() == '{"PCR0": "..."}\n'


@pytest.mark.parametrize("program", ["dnf", "git", "curl"])
def test_nothing_is_installed_after_a_failure(tmp_path: Path, program: str) -> None:
    instance = Instance(tmp_path)
    (tmp_path / program).write_text(f"{STAND_IN}exit 22\n")
    code, calls = instance.start()
    assert code == 22
    assert not any("install-host" in call for call in calls)
