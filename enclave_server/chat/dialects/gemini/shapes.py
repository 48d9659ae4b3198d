"""What is read of Google's answers: these members, and nothing else.

What is null is absent. Members that are not here are dropped: ratings, citations, traffic types.
"""

from itertools import zip_longest

import msgspec

from enclave_server.chat.conversation import Logprobs, TokenLogprob, TopLogprob, Usage, UsageDetails
from enclave_server.chat.errors import Failure, UpstreamError


class Shape(msgspec.Struct, rename="camel"):
    """An object whose members are named as in JavaScript."""


class PartialArg(Shape):
    """A value of a call that comes in pieces, or a piece of a text."""

    json_path: str | None = None
    string_value: str | None = None
    number_value: int | float | None = None
    bool_value: bool | None = None


class FunctionCall(Shape):
    """A call, which comes whole unless it is asked for in pieces."""

    name: str | None = None
    args: dict[str, msgspec.Raw] | None = None
    id: str | None = None
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None


class Part(Shape):
    """A piece of what a model says or thinks, or a call."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class Content(Shape):
    """A turn."""

    parts: list[Part] | None = None


class Token(Shape):
    """A token and how likely it was."""

    token: str = ""
    log_probability: float = 0.0


class TopTokens(Shape):
    """The likely tokens in one place."""

    candidates: list[Token] | None = None


class LogprobsResult(Shape):
    """How likely the tokens of a candidate were."""

    chosen_candidates: list[Token] | None = None
    top_candidates: list[TopTokens] | None = None


class Candidate(Shape):
    """One of the answers."""

    index: int | None = None
    content: Content | None = None
    finish_reason: str | None = None
    logprobs_result: LogprobsResult | None = None

    @property
    def parts(self) -> list[Part]:
        """The parts of its content."""
        return (self.content.parts if self.content else None) or []


class PromptFeedback(Shape):
    """Why a prompt is not answered."""

    block_reason: str | None = None


class UsageMetadata(Shape):
    """The count of tokens so far."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None


class Response(Shape):
    """An answer as a whole, an event of a streamed one, or an error."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    error: msgspec.Raw = msgspec.Raw()

    @property
    def is_blocked(self) -> bool:
        """Whether the prompt is not answered."""
        feedback = self.prompt_feedback
        return not self.candidates and feedback is not None and bool(feedback.block_reason)


_FILTERS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_OTHER",
    }
)

_MISCALLED = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})


def finish_reason(word: str, *, calls: bool) -> str:
    """Return why an answer ended; raises UpstreamError if it failed."""
    if word == "STOP":
        return "tool_calls" if calls else "stop"
    if word == "MAX_TOKENS":
        return "length"
    if word in _FILTERS:
        return "content_filter"
    raise UpstreamError(Failure.TOOL_USE_FAILED if word in _MISCALLED else Failure.BROKEN)


def usage_of(count: UsageMetadata | None) -> Usage | None:
    """Return the count of tokens in the neutral form, in which thoughts are part of the answer."""
    if count is None or count.prompt_token_count is None:
        return None
    asked = count.prompt_token_count + (count.tool_use_prompt_token_count or 0)
    thought = count.thoughts_token_count or 0
    said = (count.candidates_token_count or 0) + thought
    return Usage(asked, said, count.total_token_count or asked + said, UsageDetails(thought))


def logprobs_of(result: LogprobsResult | None) -> Logprobs | None:
    """Return the likelihoods in the neutral form; None if there are none."""
    chosen = (result.chosen_candidates if result else None) or []
    tops = (result.top_candidates if result else None) or []
    places = zip_longest(chosen, tops[: len(chosen)])
    content = [_token(token, top.candidates if top else None) for token, top in places]
    return Logprobs(content=content) if content else None


def _token(token: Token, tops: list[Token] | None) -> TokenLogprob:
    likely = [TopLogprob(top.token, top.log_probability, _octets(top.token)) for top in tops or ()]
    return TokenLogprob(token.token, token.log_probability, _octets(token.token), likely)


def _octets(text: str) -> list[int]:
    return [*text.encode("utf-8", "replace")]
