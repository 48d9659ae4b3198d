"""What the commands do.

Each brings what it alone needs when it runs: a question waits for neither `serve` nor `setup`.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from oblivious_client import asking, release_report, release_settings, report, settings
from oblivious_client.advice import warnings
from oblivious_client.client import ObliviousClient
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import ClientError, EvidenceRefused, UsageError
from oblivious_client.evidence import EvidenceSource
from oblivious_client.exits import Exit
from oblivious_client.fetching import ANEW, PLAIN, Copy, fetch_copy, fetch_keys
from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route
from oblivious_client.sealing import Framing
from oblivious_client.terminal import is_terminal, note, print_json
from protocol.evidence import Evidence, VerifiedEvidence

Chosen = argparse.Namespace
Command = Callable[[Chosen], Exit]

NONCE_BYTES = 32


def chat(chosen: Chosen) -> Exit:
    """Ask one question and write the answer as it comes, or several at a terminal."""
    if chosen.save is not None:
        from oblivious_client import archive

        archive.check_writable(chosen.save)
    if asking.is_conversation_wanted(chosen):
        return _converse(chosen)
    question = asking.asked(asking.question(chosen, note), asking.pictures(chosen))
    messages = [*asking.opening(chosen), question]
    with _client(chosen, chosen.framing) as client:
        _verify_first(client)
        answer = asking.answered(client, chosen, messages, settings.model(chosen), note)
        listed = release_report.relied_on(client.transport.source.route.releases)
    if asking.stopped_at_a_limit(answer):
        note("the model stopped at its limit of tokens")
    note("complete, and signed by the attested key")
    if chosen.save is not None:
        archive.save(chosen.save, answer, listed)
        note(f"saved; check it any time with: {archive.check_command(chosen, chosen.save)}")
    return Exit.OK


def models(chosen: Chosen) -> Exit:
    """List the models that the gateway offers; they are asked for under seal."""
    with _client(chosen) as client:
        if chosen.json:
            print_json({"models": client.models()})
            return Exit.OK
        return asking.list_models(client)


def print_completions(chosen: Chosen) -> Exit:
    """Print what has a shell complete this command's words."""
    from oblivious_client import completions

    print(completions.script(chosen.shell), end="")
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
        note(line)
    policy.require_pins(verified)
    if chosen.fresh_through_relay:
        _require_fetched(copy)
    if chosen.json:
        described = report.as_json(verified, policy, endpoint, now=now, kept=copy.kept)
        released = release_report.json_of(source.route.releases, verified, now)
        print_json({**described, **released})
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
        print_json({"keys": [report.describe_key(config) for config in verified.key_configs]})
    else:
        print("\n".join(report.key_lines(config) for config in verified.key_configs))
    if served != verified.evidence.ohttp_keys:
        raise EvidenceRefused(
            f"the list at {source.route.endpoint.keys} is not the attested one shown here",
            advice="right after a change of keys ask again; only attested keys are ever used",
            code=Exit.KEYS_UNBOUND,
        )
    _require_same(chosen, verified)
    note("attested, and served alike")
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
    from oblivious_client.local import running

    return running.serve(chosen, note)


def env(chosen: Chosen) -> Exit:
    """Print the settings with which a program asks through `serve`."""
    from oblivious_client import programs
    from oblivious_client.local.listening import read_place

    place, recipe = read_place(chosen.listen), programs.RECIPES[chosen.program]
    model = settings.model(chosen)
    note(f"for {chosen.program}, {recipe.place}:")
    print(recipe.text(place.url(place.port), model), end="")
    if hint := recipe.note(model):
        note(hint)
    return Exit.OK


def provision(chosen: Chosen) -> Exit:
    """Hand secrets to an enclave whose measurements are pinned."""
    from oblivious_client import provision as provisioning

    policy = settings.policy(chosen)
    if not policy.pcrs and policy.simulated is Simulated.REFUSED:
        raise UsageError(
            "secrets are for one program only, and no measurements say which",
            advice="pin them with --pcrs FILE; for trials with a simulator: --allow-simulated",
        )
    given = provisioning.read_secrets(chosen.secrets)
    administrator = provisioning.read_administrator(chosen.admin_key)
    for path in (chosen.secrets, chosen.admin_key):
        if provisioning.is_open_to_others(path):
            note(f"warning: other users of this machine can open {path}: chmod 600 it")
    # No cache: whatever was true an hour ago, the secrets are for what runs now.
    with ObliviousClient(replace(settings.route(chosen), cache=None)) as client:
        _warn(client.transport.route.endpoint)
        note(report.as_line(client.evidence(), policy, now=time.time()))
        provisioning.provision(client.transport, given, administrator)
    print(f"provisioned: {', '.join(sorted(given.keys)) or 'nothing was wanted'}")
    return Exit.OK


def releases(chosen: Chosen) -> Exit:
    """Get, show, pin or sign releases."""
    from oblivious_client import release_commands

    return release_commands.releases(chosen)


def setup(chosen: Chosen) -> Exit:
    """Verify where to ask, and write it down."""
    from oblivious_client import setting_up

    return setting_up.set_up(chosen, note)


def config(chosen: Chosen) -> Exit:
    """Tell which setting comes from where."""
    from oblivious_client import setting_up

    return setting_up.show(chosen)


def tokens(chosen: Chosen) -> Exit:
    """Buy tokens, or look after those in the wallet."""
    from oblivious_client import token_commands

    return token_commands.tokens(chosen)


COMMANDS: Mapping[str, Command] = {
    "setup": setup,
    "config": config,
    "chat": chat,
    "models": models,
    "serve": serve,
    "env": env,
    "verify": verify,
    "keys": keys,
    "tokens": tokens,
    "provision": provision,
    "releases": releases,
    "completions": print_completions,
}


def _note_verified(source: EvidenceSource, verified: VerifiedEvidence) -> None:
    """Say what was verified before a question, and of which release it is."""
    for line in release_report.lines_before(source, verified, time.time()):
        note(line)


def _route(chosen: Chosen, framing: Framing = Framing.CHUNKED) -> Route:
    return settings.route(chosen, framing, release_settings.releases(chosen))


def _client(chosen: Chosen, framing: Framing = Framing.CHUNKED) -> ObliviousClient:
    return ObliviousClient(_route(chosen, framing))


def _warn(endpoint: Endpoint) -> None:
    for warning in warnings(endpoint):
        note(warning)


def _verify_first(client: ObliviousClient) -> None:
    _warn(client.transport.route.endpoint)
    verified = client.evidence()
    _note_verified(client.transport.source, verified)


def _converse(chosen: Chosen) -> Exit:
    if chosen.save is not None:
        raise UsageError("--save keeps one answer", advice="type /save FILE after it")
    from oblivious_client import conversing

    with _client(chosen, chosen.framing) as client:
        talk = conversing.Conversation(client, chosen, note)
        _verify_first(client)
        return talk.run()


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
    from oblivious_client import archive
    from oblivious_client.answers import outputs_of, parse_object

    policy, trust = settings.policy(chosen), release_settings.trust(chosen)
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
        print_json(
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
    asking.show(f"\n{asked}\n{said}\n{beside}\n\n")
    print(report.verdict(answer.evidence))
    return Exit.OK
