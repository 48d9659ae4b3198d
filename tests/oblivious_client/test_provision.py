"""The operator's command: what it demands before secrets leave, and what it says afterwards."""

import dataclasses
import getpass
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enclave_server.security_module.simulated import simulated_pcrs
from oblivious_client import cli
from oblivious_client.exits import Exit
from oblivious_client.provision import read_administrator
from protocol.binary_http import Request, Response
from protocol.encapsulation import GatewayKey
from protocol.errors import SignatureInvalid
from protocol.evidence import Evidence, Platform
from protocol.gateway import Delivery, Gateway, problem
from protocol.kem import X25519_HKDF_SHA256, X_WING
from protocol.key_config import decode_key_configs, encode_key_configs
from protocol.provisioning import Secrets, open_secrets
from protocol.signature import key_identifier
from tests.support.enclave import chat_request, running_enclave, running_upstream
from tests.support.gateway import Plain, StandInGateway, signing_keys
from tests.support.provisioning import (
    ADMINISTRATOR,
    KEY,
    SECRETS,
    STRANGER,
    public_text,
    waiting_config,
    write_key,
    write_secrets,
)
from tests.support.stack import TappedStack

JSON = "application/json"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


class Taker:
    """Answers as an enclave does that waits for its secrets, and keeps what it took."""

    def __init__(self, gateway: StandInGateway) -> None:
        self._gateway = gateway
        self.taken: list[Secrets] = []
        self.answer: Response | None = None
        gateway.gateway = Gateway(lambda: gateway.accepted, self.dispatch)

    async def dispatch(self, request: Request, delivery: Delivery) -> Response:
        assert (request.method, request.path) == (b"POST", b"/v1/provision")
        tee_id = key_identifier(self._gateway.signing_keys.rsa.public_key())
        administrator = ADMINISTRATOR.public_key()
        try:
            secrets = open_secrets(
                request.content, administrator, tee_id=tee_id, now=time.time(), window=300
            )
        except SignatureInvalid:
            return Response(403)
        self.taken.append(secrets)
        return self.answer or Response(204)


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture
def taker(gateway: StandInGateway) -> Taker:
    return Taker(gateway)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs the command with files that are all right."""
    for name in ("RELAY", "GATEWAY", "PCRS"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)
    secrets, key = write_secrets(tmp_path / "secrets.toml"), write_key(tmp_path / "admin.pem")

    def command(*arguments: object) -> Outcome:
        files = ("--secrets", secrets, "--admin-key", key)
        given = [str(argument) for argument in ("provision", *files, *arguments)]
        code = cli.main(given)
        captured = capsys.readouterr()
        assert KEY not in captured.out + captured.err
        return Outcome(code, captured.out, captured.err)

    return command


def test_an_enclave_is_provisioned_once(run: Run, tmp_path: Path) -> None:
    stranger = write_key(tmp_path / "stranger.pem", STRANGER)
    with (
        running_upstream() as upstream,
        running_enclave(waiting_config(upstream.address)) as enclave,
    ):
        address = ("--gateway", f"unix:{enclave.path}", "--allow-simulated")
        refused = run(*address, "--admin-key", stranger)
        assert refused.code == Exit.NOT_ADMINISTRATOR
        assert public_text(STRANGER) in refused.err
        outcome = run(*address)
        assert (outcome.code, outcome.out) == (Exit.OK, "provisioned: provider\n")
        assert "verified: simulated document" in outcome.err
        assert enclave.ask(chat_request()).status == 200
        assert upstream.requests[0].fields["authorization"] == f"Bearer {KEY}"
        again = run(*address)
        assert (again.code, again.out) == (Exit.PROVISIONED_BEFORE, "")
        assert "start the enclave anew" in again.err


def test_nobody_on_the_way_sees_the_key(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with running_upstream() as upstream:
        config.write_text(waiting_config(upstream.address))
        with TappedStack(["--config", config]) as stack:
            outcome = run("--relay", stack.relay, "--allow-simulated")
            assert outcome.code == Exit.OK
            assert len(stack.taps) == 3
            assert all(tap.captured for tap in stack.taps.values())
            seen, written = stack.captured, stack.written
            arguments = b"".join(
                Path(f"/proc/{child.process.pid}/cmdline").read_bytes() for child in stack.children
            )
    for trace in (KEY, KEY[8:24], "v1/provision", public_text()):
        assert trace.encode() not in seen + arguments
        assert trace not in written


# What is demanded of the evidence.


def pins(path: Path, image: bytes) -> Path:
    path.write_text(json.dumps({"PCR0": image.hex()}))
    return path


def test_matching_measurements_pass(
    run: Run, gateway: StandInGateway, taker: Taker, tmp_path: Path
) -> None:
    pinned = pins(tmp_path / "pcrs.json", simulated_pcrs()[0])
    assert run("--relay", gateway.url, "--allow-simulated", "--pcrs", pinned).code == Exit.OK
    assert taker.taken == [SECRETS]
    assert [each.kem for each in gateway.posts()] == [X_WING]


def test_nothing_is_asked_without_measurements(run: Run, gateway: StandInGateway) -> None:
    outcome = run("--relay", gateway.url)
    assert outcome.code == Exit.USAGE
    assert "--pcrs" in outcome.err
    assert gateway.arrived == []


def test_another_program_gets_nothing(run: Run, gateway: StandInGateway, tmp_path: Path) -> None:
    pinned = pins(tmp_path / "pcrs.json", bytes(range(48)))
    outcome = run("--relay", gateway.url, "--allow-simulated", "--pcrs", pinned)
    assert outcome.code == Exit.PCRS
    assert gateway.posts() == []


def test_a_simulated_enclave_gets_nothing_unless_allowed(
    run: Run, gateway: StandInGateway, tmp_path: Path
) -> None:
    pinned = pins(tmp_path / "pcrs.json", simulated_pcrs()[0])
    assert run("--relay", gateway.url, "--pcrs", pinned).code == Exit.SIMULATED
    assert gateway.posts() == []


def other_keys(evidence: Evidence) -> Evidence:
    """Be a host that puts a key of its own beside a genuine document."""
    keys = encode_key_configs([GatewayKey.generate(9).config])
    return dataclasses.replace(evidence, ohttp_keys=keys)


def without_x_wing(evidence: Evidence) -> Evidence:
    """Be a relay that leaves the key that a quantum computer can break."""
    last = decode_key_configs(evidence.ohttp_keys)[-1]
    assert last.kem_id == X25519_HKDF_SHA256.code
    return dataclasses.replace(evidence, ohttp_keys=encode_key_configs([last]))


def other_signing_key(evidence: Evidence) -> Evidence:
    """Be a host that has secrets signed for another enclave."""
    with_other = StandInGateway(name="second")
    with_other.close()
    return dataclasses.replace(evidence, signing_key_pem=with_other.evidence().signing_key_pem)


def other_document(evidence: Evidence) -> Evidence:
    """Be a host that puts the document of another enclave before these keys."""
    with_other = StandInGateway(name="second")
    with_other.close()
    return dataclasses.replace(evidence, document=with_other.evidence().document)


def other_platform(evidence: Evidence) -> Evidence:
    """Be a simulator that says it is none."""
    return dataclasses.replace(evidence, platform=Platform.AWS_NITRO)


def altered_document(evidence: Evidence) -> Evidence:
    """Be a host that changes a measurement in the document."""
    changed = evidence.document.replace(simulated_pcrs()[0], bytes(range(48)))
    assert changed != evidence.document
    return dataclasses.replace(evidence, document=changed)


@pytest.mark.parametrize(
    ("swap", "code"),
    [
        (other_keys, Exit.KEYS_UNBOUND),
        (without_x_wing, Exit.KEYS_UNBOUND),
        (other_signing_key, Exit.KEYS_UNBOUND),
        (other_document, Exit.KEYS_UNBOUND),
        (other_platform, Exit.CHAIN),
        (altered_document, Exit.CHAIN),
    ],
)
def test_swapped_evidence_gets_nothing(
    run: Run, gateway: StandInGateway, swap: Callable[[Evidence], Evidence], code: Exit
) -> None:
    gateway.faults.evidence = swap
    assert run("--relay", gateway.url, "--allow-simulated").code == code
    assert gateway.posts() == []


def test_secrets_follow_to_the_next_boot_only_when_it_has_proven_itself(
    run: Run, gateway: StandInGateway, taker: Taker
) -> None:
    """A relay serves the evidence of the boot before: the statement is signed anew."""
    old = StandInGateway(name="second")
    old.close()
    kept = Plain(200, JSON, old.evidence().encode(), (("Cache-Control", "max-age=600"),))
    gateway.faults.evidence_answers = [kept]
    assert run("--relay", gateway.url, "--allow-simulated").code == Exit.OK
    assert taker.taken == [SECRETS]
    assert [each.path for each in gateway.posts()] == ["/"] * 3
    gateway.faults.evidence_answers = [kept]
    gateway.faults.evidence = other_keys
    assert run("--relay", gateway.url, "--allow-simulated").code == Exit.KEYS_UNBOUND
    assert taker.taken == [SECRETS]


# What the enclave answers.


def error(status: int, message: str) -> Response:
    body = json.dumps({"error": {"message": message}}).encode()
    return Response(status, ((b"content-type", b"application/json"),), body)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (error(400, "A key is missing for 'x'."), Exit.SERVICE_ERROR, "missing for 'x'"),
        (error(404, "nothing"), Exit.SERVICE_ERROR, "names no administrator"),
        (error(409, "before"), Exit.PROVISIONED_BEFORE, "once"),
        (problem(409), Exit.SERVICE_ERROR, "somebody on the way repeated it"),
        (error(503, "later"), Exit.SERVICE_ERROR, "later"),
        (Response(200), Exit.SERVICE_ERROR, "not what"),
    ],
)
def test_a_refusal_has_its_own_words(
    run: Run, gateway: StandInGateway, taker: Taker, answer: Response, code: Exit, words: str
) -> None:
    taker.answer = answer
    outcome = run("--relay", gateway.url, "--allow-simulated")
    assert outcome.code == code
    assert words in outcome.err
    assert outcome.out == ""


def test_an_answer_that_was_cut_is_none(run: Run, gateway: StandInGateway, taker: Taker) -> None:
    gateway.faults.cut_after = 1
    assert run("--relay", gateway.url, "--allow-simulated").code == Exit.TRUNCATED


# The files.


@pytest.mark.parametrize(
    "text",
    [
        f'[keys\nprovider = "{KEY}"',
        f'[keys]\nprovider = "{KEY}"\nx = {"9" * 5000}',
        f'[keys]\nprovider = "{KEY}"\nx = {"[" * 900}',
        f'[keys]\nprovider = "{KEY}',
        f'provider = "{KEY}"',
        f'keys = "{KEY}"',
        f'settings = "{KEY}"',
        f'[keys]\nprovider = ["{KEY}"]',
        f'[keys]\nprovider = " {KEY}"',
        f'[keys]\nprovider = "{KEY}é"',
        '[keys]\nprovider = ""',
        f'[keys]\nprovider = "k"\n[settings.provider]\naddress = "{KEY}"',
        f'[keys]\nprovider = "k"\n[settings]\nprovider = "{KEY}"',
    ],
)
def test_a_secrets_file_that_is_wrong_is_never_quoted(run: Run, tmp_path: Path, text: str) -> None:
    wrong = write_secrets(tmp_path / "wrong.toml", text)
    outcome = run("--gateway", "http://127.0.0.1:1", "--allow-simulated", "--secrets", wrong)
    assert outcome.code == Exit.USAGE
    assert str(wrong) in outcome.err


def test_settings_go_along(run: Run, gateway: StandInGateway, taker: Taker, tmp_path: Path) -> None:
    text = '[keys]\na = "k"\nb = "l"\n[settings.a]\norganization = "o"\nproject = "p"\n'
    full = write_secrets(tmp_path / "full.toml", text)
    outcome = run("--relay", gateway.url, "--allow-simulated", "--secrets", full)
    assert outcome.out == "provisioned: a, b\n"
    account = {"organization": "o", "project": "p"}
    assert taker.taken == [Secrets({"a": "k", "b": "l"}, {"a": account})]


def test_secrets_that_are_too_long_stay_here(
    run: Run, gateway: StandInGateway, tmp_path: Path
) -> None:
    long = write_secrets(tmp_path / "long.toml", f'[keys]\nprovider = "{"k" * 40_000}"')
    outcome = run("--relay", gateway.url, "--allow-simulated", "--secrets", long)
    assert outcome.code == Exit.USAGE
    assert gateway.posts() == []


@pytest.mark.parametrize("option", ["--secrets", "--admin-key"])
def test_files_have_to_be_there_and_to_be_named(run: Run, tmp_path: Path, option: str) -> None:
    address = ("--gateway", "http://127.0.0.1:1", "--allow-simulated")
    outcome = run(*address, option, tmp_path / "absent")
    assert outcome.code == Exit.USAGE
    assert "No such file" in outcome.err
    assert cli.main(["provision", *address]) == Exit.USAGE


def test_files_that_others_can_open_are_pointed_out(
    run: Run, gateway: StandInGateway, taker: Taker, tmp_path: Path
) -> None:
    address = ("--relay", gateway.url, "--allow-simulated")
    assert "warning" not in run(*address).err
    for name, mode in (("secrets.toml", 0o640), ("admin.pem", 0o604)):
        (tmp_path / name).chmod(mode)
        outcome = run(*address)
        assert outcome.code == Exit.OK
        assert f"{tmp_path / name}: chmod 600" in outcome.err
        (tmp_path / name).chmod(0o600)


@pytest.mark.parametrize("content", ["rsa", "public", "garbage"])
def test_what_is_no_administrators_key_is_refused(run: Run, tmp_path: Path, content: str) -> None:
    rsa = signing_keys("first").rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    texts = {"rsa": rsa, "public": public_text().encode(), "garbage": b"\xff"}
    path = tmp_path / "wrong.pem"
    path.write_bytes(texts[content])
    outcome = run("--gateway", "http://127.0.0.1:1", "--allow-simulated", "--admin-key", path)
    assert outcome.code == Exit.USAGE
    assert str(path) in outcome.err


def test_a_key_with_a_passphrase_is_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path
) -> None:
    path = write_key(tmp_path / "locked.pem", passphrase="open sesame")
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "open sesame")
    key = read_administrator(path)
    assert key.private_bytes_raw() == ADMINISTRATOR.private_bytes_raw()
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "wrong")
    outcome = run("--gateway", "http://127.0.0.1:1", "--allow-simulated", "--admin-key", path)
    assert outcome.code == Exit.USAGE
    assert "passphrase does not open" in outcome.err


def test_nobody_there_to_type_a_passphrase_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path
) -> None:
    path = write_key(tmp_path / "locked.pem", passphrase="open sesame")

    def nobody(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", nobody)
    outcome = run("--gateway", "http://127.0.0.1:1", "--allow-simulated", "--admin-key", path)
    assert outcome.code == Exit.USAGE
    assert "nobody is here to type it" in outcome.err
