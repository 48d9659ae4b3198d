"""What OpenAI's requests have in common: exactly these fields, of exactly these types.

What a structure has no field for cannot leave the enclave. Absent and null are the same.
"""

import re
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from enclave_server.chat import sampling
from enclave_server.chat.bounds import MOST_LOGIT_BIAS
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.strict_json import printable
from enclave_server.chat.surfaces import dropped

MAX_STOPS = 16
MAX_CHOICES = 128
MAX_NAME: Final = 256
MAX_REASON = 200

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Choices = Annotated[int, Meta(ge=1, le=MAX_CHOICES)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
# No model knows more tokens: the largest vocabularies have some hundred thousand.
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stops = Annotated[list[str], Meta(min_length=1, max_length=MAX_STOPS)]
LogitBias = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[0-9]{1,10}\Z")], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=MOST_LOGIT_BIAS),
]


class Shape(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An object of which every field is known."""


class StreamOptions(Shape):
    """Whether a stream ends with the count of tokens."""

    include_usage: bool | None = None


class Request(Shape):
    """The fields that all requests have."""

    model: Name
    temperature: Temperature | None = None
    top_p: Probability | None = None
    n: Choices | None = None
    stop: str | Stops | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    logit_bias: LogitBias | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def question(self) -> dict[str, Any]:
        """Return the members of a `Question` that these fields are; raises ChatError 400."""
        if self.stream_options is not None and not self.stream:
            raise invalid("'stream_options' needs 'stream' to be true.", "stream_options")
        return {
            "model": self.model,
            "temperature": _plain(self.temperature),
            "top_p": _plain(self.top_p),
            "n": self.n,
            "stop": self.stop,
            "presence_penalty": _plain(self.presence_penalty),
            "frequency_penalty": _plain(self.frequency_penalty),
            "seed": self.seed,
            "logit_bias": _plain_bias(self.logit_bias) if self.logit_bias else None,
            "stream": self.stream is True,
            "usage": self.stream_options is not None and self.stream_options.include_usage is True,
        }


def _plain(number: float | None) -> float | None:
    """Return the number; one that is -0.0, as some programs come to write, as the 0.0 it means."""
    return None if number is None else number + 0.0


def _plain_bias(bias: dict[str, float]) -> dict[str, float]:
    """Return `bias` in one order, its tokens without zeros before them; raises ChatError 400.

    A program's order and spelling mean nothing to the model, and tell which program it is.
    """
    plain = {str(int(token)): value + 0.0 for token, value in sorted(bias.items())}
    if len(plain) != len(bias):
        raise invalid("'logit_bias' names a token twice.", "logit_bias", "invalid_value")
    return dict(sorted(plain.items()))


R = TypeVar("R", bound=msgspec.Struct)

_PLACE = re.compile(r"(?: - at `(?:key` in `)?\$\.?(?P<path>[^`]*)`)?\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`\Z", re.DOTALL)


def strip(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a request's members without those that are dropped in silence."""
    kept = without(fields, dropped.OF_REQUEST)
    if isinstance(options := kept.get("stream_options"), dict):
        return {**kept, "stream_options": without(options, dropped.OF_STREAM_OPTIONS)}
    return kept


def without(fields: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return `fields` but for those of these `names`, for nulls, and for what is empty."""
    is_plain = names.isdisjoint(fields) and dropped.EMPTY.isdisjoint(fields)
    if is_plain and None not in fields.values():
        return fields  # most messages
    return {
        name: value
        for name, value in fields.items()
        if name not in names and value is not None and (value or name not in dropped.EMPTY)
    }


def taken_sampling(fields: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the fields of sampling among `fields`, and the others; raises ChatError 400."""
    taken, others = sampling.taken_from(fields)
    return (sampling.plain(convert(taken, sampling.Sampling)) if taken else None), others


def convert(fields: dict[str, Any], kind: type[R]) -> R:
    """Return `fields` as a request; raises ChatError 400 that names the first wrong field."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None


def _explain(text: str) -> ChatError:
    """Turn msgspec's sentence into an error object; it holds types and places, and one name."""
    place = _PLACE.search(text)
    path = place["path"] or "" if place else ""
    reason = text[: place.start()] if place else text
    if unknown := _UNKNOWN.match(reason):
        name = printable(unknown["name"])
        param, advice = _join(path, name), dropped.ADVICE.get(name)
        sentence = f"Unknown parameter: '{param}'." + (f" {advice}" if advice else "")
        return invalid(sentence, param, "unknown_parameter")
    if missing := _MISSING.match(reason):
        param = _join(path, missing["name"])
        return invalid(
            f"Missing required parameter: '{param}'.", param, "missing_required_parameter"
        )
    param = path or "prompt"  # only the check of a whole request has no place
    return invalid(
        f"Invalid value for '{param}': {printable(reason, MAX_REASON)}.", param, "invalid_value"
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
