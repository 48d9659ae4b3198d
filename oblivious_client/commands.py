"""What the commands do."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import httpx

from oblivious_client import archive, options, release_options, release_report, report
from oblivious_client import provision as provisioning
from oblivious_client.answers import Answer, outputs_of, parse_object
from oblivious_client.client import ObliviousClient
from oblivious_client.descriptors import Scarcity, affordable
from oblivious_client.endpoint import Endpoint, Role, is_loopback
from oblivious_client.errors import AnswerTruncated, ClientError, EvidenceRefused, UsageError
from oblivious_client.evidence import (
    ANEW,
    PLAIN,
    Copy,
    EvidenceSource,
    fetch_copy,
    fetch_keys,
)
from oblivious_client.exits import Exit
from oblivious_client.policy import Policy, Simulated
from oblivious_client.release_commands import releases
from oblivious_client.route import Route
from oblivious_client.sealing import Framing
from oblivious_client.serve import MAX_CONNECTIONS, MAX_REFUSALS, LocalEndpoint, start
from oblivious_client.transport import AsyncObliviousTransport
from protocol.evidence import Evidence, VerifiedEvidence

Chosen = argparse.Namespace
Command = Callable[[Chosen], Exit]

NONCE_BYTES = 32

_ENDING = (signal.SIGINT, signal.SIGTERM)


def chat(chosen: Chosen) -> Exit:
    """Ask one question and write the answer as it comes."""
    if chosen.save is not None:
        archive.check_writable(chosen.save)
    question = _question(chosen)
    with _client(chosen, chosen.framing) as client:
        _warn(client.transport.route.endpoint)
        verified = client.evidence()
        source = client.transport.source
        _note_verified(source, verified)
        answer = _answered(client, chosen, question)
        listed = release_report.relied_on(source.route.releases)
    if _stopped_at_a_limit(answer):
        _note("the model stopped at its limit of tokens")
    _note("complete, and signed by the attested key")
    if chosen.save is not None:
        archive.save(chosen.save, answer, listed)
        _note(f"saved; check it any time with: {_check(chosen, chosen.save)}")
    return Exit.OK


def verify(chosen: Chosen) -> Exit:
    """Check what an enclave proves now, or what a saved answer did."""
    if chosen.file is not None:
        return _verify_file(chosen, chosen.file)
    with _client(chosen) as client:
        endpoint, source = client.transport.route.endpoint, client.transport.source
        nonce = _nonce(chosen, endpoint)
        fields = ANEW if chosen.fresh_through_relay else PLAIN
        client.transport.run(source.releases_renewed())
        copy = client.transport.run(fetch_copy(endpoint, nonce, fields))

        def inspect(policy: Policy, evidence: Evidence, now: float) -> VerifiedEvidence:
            return policy.inspect(evidence, now=now, nonce=nonce)

        verified = client.transport.run(source.judged(copy.evidence, inspect))
    now, policy = time.time(), source.policy
    if not chosen.json:
        print(report.as_text(verified, policy, endpoint, now=now, nonce=nonce, kept=copy.kept))
        for line in release_report.lines_of(source.route.releases, verified, now):
            print(line)
    for line in release_report.warnings(source, now):
        _note(line)
    policy.require_pins(verified)
    if chosen.fresh_through_relay:
        _require_fetched(copy)
    if chosen.json:
        described = report.as_json(verified, policy, endpoint, now=now, kept=copy.kept)
        running = release_report.json_of(source.route.releases, verified, now)
        _print_json({**described, **running})
    else:
        print(report.verdict(verified))
    return Exit.OK


def keys(chosen: Chosen) -> Exit:
    """Show the attested keys, and whether the list that is served apart is the same."""
    with _client(chosen) as client:
        source = client.transport.source
        verified = client.transport.run(source.renewed())
        served = client.transport.run(fetch_keys(source.route.endpoint))
    if chosen.json:
        _print_json({"keys": [report.describe_key(config) for config in verified.key_configs]})
    else:
        print("\n".join(report.key_lines(config) for config in verified.key_configs))
    if served != verified.evidence.ohttp_keys:
        raise EvidenceRefused(
            f"the list at {source.route.endpoint.keys} is not the attested one shown here",
            advice="right after a change of keys ask again; only attested keys are ever used",
            code=Exit.KEYS_UNBOUND,
        )
    _require_same(chosen, verified)
    _note("attested, and served alike")
    return Exit.OK


def _require_same(chosen: Chosen, verified: VerifiedEvidence) -> None:
    """Raise EvidenceRefused unless other relays give the same keys; each learns who asks."""
    ours = verified.evidence.ohttp_keys
    for url in chosen.also or ():
        other = replace(_route(chosen), relay=url, gateway=None, cache=None)
        with ObliviousClient(other) as client:
            served = client.transport.run(client.transport.source.renewed())
        if served.evidence.ohttp_keys != ours:
            raise EvidenceRefused(
                f"{url} serves other keys, attested as well",
                advice="a service of several enclaves has several lists, and one of one enclave a "
                "new list each day: ask again; if it stays, somebody may be given keys of his own",
                code=Exit.KEYS_UNSEEN,
            )


def serve(chosen: Chosen) -> Exit:
    """Be an OpenAI endpoint for the programs of this machine until told to stop."""
    host, port = _listen_address(chosen.listen)
    return asyncio.run(_serve(chosen, host, port))


def provision(chosen: Chosen) -> Exit:
    """Hand secrets to an enclave whose measurements are pinned."""
    policy = options.policy(chosen)
    if not policy.pcrs and policy.simulated is Simulated.REFUSED:
        raise UsageError(
            "secrets are for one program only, and no measurements say which",
            advice="pin them with --pcrs FILE; for trials with a simulator: --allow-simulated",
        )
    given = provisioning.read_secrets(chosen.secrets)
    administrator = provisioning.read_administrator(chosen.admin_key)
    for path in (chosen.secrets, chosen.admin_key):
        if provisioning.is_open_to_others(path):
            _note(f"warning: other users of this machine can open {path}: chmod 600 it")
    # No cache: whatever was true an hour ago, the secrets are for what runs now.
    with ObliviousClient(replace(options.route(chosen), cache=None)) as client:
        _warn(client.transport.route.endpoint)
        _note(report.as_line(client.evidence(), policy, now=time.time()))
        provisioning.provision(client.transport, given, administrator)
    print(f"provisioned: {', '.join(sorted(given.keys)) or 'nothing was wanted'}")
    return Exit.OK


COMMANDS: Mapping[str, Command] = {
    "chat": chat,
    "serve": serve,
    "verify": verify,
    "keys": keys,
    "provision": provision,
    "releases": releases,
}


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees or types what passes."""
    return stream.isatty()


def _note(text: str) -> None:
    # Standard output belongs to the answer.
    print(text, file=sys.stderr, flush=True)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def _note_verified(source: EvidenceSource, verified: VerifiedEvidence) -> None:
    """Say what was verified before a question, and of which release it is."""
    now = time.time()
    _note(report.as_line(verified, source.policy, now=now))
    for line in release_report.lines_before(source, verified, now):
        _note(line)


def _route(chosen: Chosen, framing: Framing = Framing.CHUNKED) -> Route:
    return options.route(chosen, framing, release_options.releases(chosen))


def _client(chosen: Chosen, framing: Framing = Framing.CHUNKED) -> ObliviousClient:
    return ObliviousClient(_route(chosen, framing))


def _warn(endpoint: Endpoint) -> None:
    if endpoint.role is Role.GATEWAY:
        _note("note: no relay: the gateway's operator sees your address")
    if not endpoint.is_protected:
        _note("note: no TLS: the network sees that you ask (not what); use https://")


def _question(chosen: Chosen) -> str:
    words = " ".join(chosen.question)
    if words and words != "-":
        return words
    try:
        text = _typed().strip()
    except UnicodeDecodeError as error:
        raise UsageError("the question on standard input is not UTF-8 text") from error
    if not text:
        raise UsageError("there is no question", advice='write one: oblivious-client chat "…"')
    return text


def _typed() -> str:
    if sys.stdin is None:  # Python's way to say that descriptor 0 was closed at the start
        return ""
    if is_terminal(sys.stdin):
        _note("type the question; Ctrl-D ends it")
    return sys.stdin.read()


def _check(chosen: Chosen, path: Path) -> str:
    """Return the command that checks a saved answer, demanding the same as was demanded now."""
    words = ["oblivious-client", "verify"]
    words += ["--allow-simulated"] if chosen.allow_simulated else []
    words += ["--pcrs", chosen.pcrs] if chosen.pcrs else []
    words += ["--trust", chosen.trust] if chosen.trust else []
    words += ["--root", str(chosen.root)] if chosen.root else []
    return shlex.join([*words, str(path)])


def _stopped_at_a_limit(answer: Answer) -> bool:
    return any(choice.get("finish_reason") == "length" for choice in answer.body["choices"])


def _answered(client: ObliviousClient, chosen: Chosen, question: str) -> Answer:
    messages = [{"role": "user", "content": question}]
    if chosen.system:
        messages.insert(0, {"role": "system", "content": chosen.system})
    limit = {"max_tokens": chosen.max_tokens} if chosen.max_tokens else {}
    model = options.model(chosen)
    if chosen.framing is Framing.WHOLE:
        answer = client.chat(messages, model=model, **limit)
        _show(answer.text + "\n")
        return answer
    stream = client.stream(messages, model=model, **limit)
    shown = ""
    try:
        for text in stream:
            _show(text)
            shown = text or shown
    except httpx.TimeoutException as error:
        raise AnswerTruncated from error
    finally:
        stream.close()
        if not shown.endswith("\n"):
            _show("\n")
    return stream.answer


def _show(text: str) -> None:
    """Write a piece of the answer; a terminal gets no control sequences from a model."""
    if is_terminal(sys.stdout):
        text = "".join(each for each in text if each.isprintable() or each in "\n\t")
    sys.stdout.write(text)
    sys.stdout.flush()


def _require_fetched(copy: Copy) -> None:
    if copy.kept is not None and copy.kept <= report.FETCHED_SECONDS:
        return
    age = "of unknown age" if copy.kept is None else f"of {copy.kept} s"
    raise EvidenceRefused(
        f"the relay gave a copy {age} though it was asked to fetch another",
        advice="whether its gateway answers now is not known: ask the relay's operator",
        code=Exit.STALE,
    )


def _nonce(chosen: Chosen, endpoint: Endpoint) -> bytes | None:
    if chosen.fresh_through_relay and endpoint.role is Role.GATEWAY:
        raise UsageError("--fresh-through-relay is for --relay", advice="use --fresh")
    if not chosen.fresh:
        return None
    if endpoint.role is Role.RELAY:
        raise UsageError(
            "a relay serves one document to everybody and forwards no nonce",
            advice="use --fresh with --gateway, or leave it out",
        )
    return secrets.token_bytes(NONCE_BYTES)


def _verify_file(chosen: Chosen, path: Path) -> Exit:
    policy, trust = options.policy(chosen), release_options.trust(chosen)
    archived = archive.load(path)
    try:
        if trust is not None and not policy.pcrs:
            policy = archive.policy_then(archived, policy, trust)
        answer = archive.verify(archived, policy)
    except ClientError as error:
        if error.code not in (Exit.USAGE, Exit.SIMULATED, Exit.UNPINNED):  # advised as elsewhere
            error.advice = "the file does not prove its answer: do not rely on it"
        raise
    now = float(answer.signed.timestamp)
    described = report.as_json(answer.evidence, policy, None, now=now)
    if chosen.json:
        _print_json(
            {
                **described,
                "answered": answer.signed.timestamp,
                "request": parse_object(answer.request),
                "answer": answer.text,
                "choices": answer.body["choices"],
            }
        )
        return Exit.OK
    print(report.as_text(answer.evidence, policy, None, now=now))
    print(f"{'answered':<13} {report.moment(answer.signed.timestamp)}")
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    asked = report.asked(parse_object(answer.request), width)
    version = answer.signed.version
    said = report.answered(outputs_of(answer.body), width, version=version)
    beside = report.beside(answer.body, width, version=version)
    _show(f"\n{asked}\n{said}\n{beside}\n\n")
    print(report.verdict(answer.evidence))
    return Exit.OK


def _listen_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or not host:
        raise UsageError(f"not HOST:PORT: {text}")
    if not is_loopback(host):
        raise UsageError(
            f"{host} is not an address of this machine alone",
            advice="it speaks clear text: listen on 127.0.0.1, and run one on each machine",
        )
    return host, int(port)


async def _serve(chosen: Chosen, host: str, port: int) -> Exit:
    transport = AsyncObliviousTransport(_route(chosen))
    try:
        source = transport.source
        _warn(source.route.endpoint)
        verified: VerifiedEvidence = await transport.evidence()
        _note_verified(source, verified)
        most, refusals = affordable(MAX_CONNECTIONS, MAX_REFUSALS)
        if most < MAX_CONNECTIONS:
            _note(f"few descriptors (ulimit -n): at most {most} programs are served at once")
        await _serve_until_stopped(LocalEndpoint(transport, most, refusals), host, port)
    finally:
        await transport.aclose()
    return Exit.OK


async def _serve_until_stopped(endpoint: LocalEndpoint, host: str, port: int) -> None:
    stop = _stop_when_signalled()
    asyncio.get_running_loop().set_exception_handler(Scarcity(_note))
    try:
        server = await start(endpoint, host, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            advice="something else may listen there: choose another with --listen",
        ) from error
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{server.sockets[0].getsockname()[1]}"
    _note(f"listening: open {url}/ or set OPENAI_BASE_URL={url}/v1 (any OPENAI_API_KEY)")
    try:
        await stop.wait()
    finally:
        server.close()


def _stop_when_signalled() -> asyncio.Event:
    """Return what SIGINT or SIGTERM sets; those that follow wait, to the very end.

    asyncio's own handlers write to a pipe that is closed before they are taken away, and Python
    reports a signal that was on its way when it was told to ignore it.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def tell(*_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(stop.set)

    for number in _ENDING:
        signal.signal(number, tell)
    return stop
