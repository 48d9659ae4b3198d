"""What a dialect cannot say to its upstream: refused with the field's name and what is possible."""

from enclave_server.chat.errors import ChatError, invalid


def unsupported(field: str, advice: str) -> ChatError:
    """Return the refusal of a field that this model's upstream has no word for."""
    return invalid(f"This model cannot be asked with '{field}'. {advice}", field, _PARAMETER)


def unsupported_value(field: str, advice: str) -> ChatError:
    """Return the refusal of a value of a field that has others."""
    return invalid(f"This model does not take this value of '{field}'. {advice}", field, _VALUE)


_PARAMETER = "unsupported_parameter"
_VALUE = "unsupported_value"
