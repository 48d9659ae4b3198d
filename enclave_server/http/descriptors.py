"""Descriptors: as many as the limits promise, or limits that promise no more than there are."""

import resource
from dataclasses import replace

from enclave_server.http.limits import Limits

SPARE_DESCRIPTORS = 64
"""Standard streams, event loop, listener, security module, readers, files that are open briefly."""


def needed(limits: Limits) -> int:
    """Return how many a process needs: each request may need an upstream as well."""
    return _counted(limits) + SPARE_DESCRIPTORS


def allow(limits: Limits) -> int:
    """Let this process and those that it forks have what `limits` need; return what they have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(limits)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(soft, wanted)


def fitted(limits: Limits, have: int) -> Limits:
    """Return `limits`, their counts made smaller in proportion where so many are too few."""
    if have >= needed(limits):
        return limits
    room, all_counts = have - SPARE_DESCRIPTORS, _counted(limits)
    counts = {
        name: max(1, getattr(limits, name) * room // all_counts)
        for name in ("connections", "refusals", "requests")
    }
    return replace(limits, **counts)


def _counted(limits: Limits) -> int:
    return limits.connections + limits.refusals + limits.requests
