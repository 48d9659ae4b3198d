"""Functions in namespaces, which models know by one name: that of the namespace and its own.

A namespace is no tool of a provider's: programs sort their own functions so.
"""

from enclave_server.chat.errors import invalid

BETWEEN = "__ns__"


def joined(namespace: str | None, name: str) -> str:
    """Return the one name of a function."""
    return name if namespace is None else f"{namespace}{BETWEEN}{name}"


def apart(name: str) -> tuple[str | None, str]:
    """Return the namespace of a function, if it is in one, and its own name."""
    namespace, between, own = name.partition(BETWEEN)
    return (namespace, own) if between else (None, name)


def refuse_ambiguous(name: str, place: str) -> None:
    """Raise ChatError 400 for a name that could be one of a function in a namespace."""
    if BETWEEN in name:
        param = f"{place}.name"
        raise invalid(f"'{param}' must not contain '{BETWEEN}'.", param, "invalid_value")
