"""The models that a configuration offers, as the chat service wants them."""

import dataclasses
from typing import Any

from enclave_server import config as tables
from enclave_server.addresses import parse_address
from enclave_server.chat.bounds import PROVIDER
from enclave_server.chat.dialects.table import (
    WITHOUT_LATER_INSTRUCTIONS,
    find_dialect,
    find_embedding_dialect,
)
from enclave_server.chat.embedded import CONCURRENCY, EMBEDDED, embedded_model
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.profiles import (
    LaterInstructions,
    Profile,
    find_profile,
    profile_of_host,
)
from enclave_server.chat.upstream.credentials import (
    EnvironmentKey,
    FileKey,
    KeySource,
    ProvisionedKeys,
    no_account,
)
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.chat.upstream.trust import ssl_context
from enclave_server.config import EMBEDDED_UPSTREAM, Config, UpstreamTable


def build_models(config: Config, engine_socket: str, provisioned: ProvisionedKeys) -> ModelTable:
    """Return the table of models; `engine_socket` is where the embedded engine listens.

    Keys that are handed to the running server will be found in `provisioned`.

    Raises ValueError for an upstream that cannot be used as it is configured.
    """
    upstreams = {
        name: _upstream(name, table, provisioned) for name, table in config.upstreams.items()
    }
    models = []
    for model in config.models:
        if model.upstream == EMBEDDED_UPSTREAM:
            bounds = dataclasses.replace(EMBEDDED, **model.limits)
            prompt = config.chat.system_prompt
            share = engine_share(config.server.workers)
            models.append(embedded_model(model.name, engine_socket, prompt, bounds, share))
        else:
            models.append(_provided(model, upstreams[model.upstream]))
    tariffs = config.tariffs
    return ModelTable(
        tuple(dataclasses.replace(model, tariff=tariffs[model.name]) for model in models)
    )


def _provided(table: tables.ModelTable, upstream: Upstream) -> Model:
    """Return the model of a provider, which can do what the configuration does not deny it."""
    if table.embeddings:
        _check_embeddings(table.name, upstream.dialect)
    profile, chats = _profile(table, upstream), not table.embeddings
    return Model(
        table.name,
        upstream,
        table.upstream_name or table.name,
        tools=chats and table.tools is not False,
        images=chats and table.images is not False,
        files=chats and table.files is not False,
        reasoning=chats and table.reasoning is not False,
        structured_output=chats and table.structured_output is not False,
        embeddings=not chats,
        bounds=dataclasses.replace(PROVIDER, **table.limits),
        profile=profile,
        context_length=table.context_length,
        output_limit=table.output_limit,
        sampling=profile.sampling if table.sampling is None else frozenset(table.sampling),
    )


def _check_embeddings(name: str, dialect: str) -> None:
    """Raise ValueError, which names the model, if its upstream's dialect makes no embeddings."""
    try:
        find_embedding_dialect(dialect)
    except ValueError as error:
        raise ValueError(f"model {name!r}: {error}") from error


def _profile(table: tables.ModelTable, upstream: Upstream) -> Profile:
    """Return the profile of the upstream, with what the configuration says of this model."""
    profile = upstream.profile
    said: dict[str, Any] = {
        "temperature": table.temperature,
        "efforts": table.efforts,
        "thinking": table.thinking,
        "later_instructions": _later_instructions(table, upstream),
        "prefill": table.prefill,
        "remote_images": table.remote_images,
        "output_limit": table.output_limit,
        "cache_salt": False if table.isolated_cache is False else None,
        "retention": {**profile.retention, **profile.uncached} if table.isolated_cache else None,
    }
    changes = {name: value for name, value in said.items() if value is not None}
    return dataclasses.replace(profile, **changes)


def _later_instructions(table: tables.ModelTable, upstream: Upstream) -> LaterInstructions | None:
    """Return who says them, if not whom the profile says; raises ValueError for what cannot be."""
    said = table.later_instructions
    if upstream.dialect not in WITHOUT_LATER_INSTRUCTIONS:
        return said
    if said == "system":
        sentence = f"the dialect {upstream.dialect!r} has no place for its later_instructions"
        raise ValueError(f"model {table.name!r}: {sentence}")
    profile = upstream.profile.later_instructions
    return said or ("user" if profile == "system" else profile)


def engine_share(workers: int) -> int:
    """Return how many of the engine's connections each worker may have."""
    return max(1, CONCURRENCY // workers)


def _upstream(name: str, table: UpstreamTable, provisioned: ProvisionedKeys) -> Upstream:
    upstream = Upstream(
        name,
        parse_address(table.address),
        host_name=table.host_name,
        path_prefix=table.path_prefix,
        dialect=table.dialect,
        profile=_find_profile(name, table),
        key=provisioned.source(name) if table.key_provisioned else _key_source(table),
        account=provisioned.account(name) if table.key_provisioned else no_account,
        ca_file=table.ca_file,
        connect_seconds=table.connect_seconds,
        first_byte_seconds=table.first_byte_seconds,
        idle_seconds=table.idle_seconds,
        total_seconds=table.total_seconds,
    )
    _check(upstream)
    return upstream


def _find_profile(upstream: str, table: UpstreamTable) -> Profile:
    try:
        return find_profile(table.profile or profile_of_host(table.host_name, table.dialect))
    except ValueError as error:
        raise ValueError(f"upstream {upstream!r}: {error}") from error


def _check(upstream: Upstream) -> None:
    """Raise ValueError, which names the upstream, for what would fail when it is asked."""
    try:
        find_dialect(upstream.dialect)
    except ValueError as error:
        raise ValueError(f"upstream {upstream.name!r}: {error}") from error
    if upstream.ca_file is None:
        return
    try:
        ssl_context(upstream)
    except OSError as error:  # ssl.SSLError is one
        sentence = f"upstream {upstream.name!r}: no certificates in {upstream.ca_file}"
        raise ValueError(sentence) from error


def _key_source(table: UpstreamTable) -> KeySource | None:
    if table.key_env is not None:
        return EnvironmentKey(table.key_env)
    return FileKey(table.key_file) if table.key_file is not None else None
