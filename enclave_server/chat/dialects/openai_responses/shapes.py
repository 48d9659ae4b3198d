"""What is read of the Responses API's answers: these members, and nothing else.

What is null is absent. Members that are not here are dropped: identifiers, tiers, what was asked.
"""

import msgspec

from enclave_server.chat.conversation import Logprobs, TokenLogprob, TopLogprob, Usage, UsageDetails

NO_ERROR = msgspec.Raw()


class Token(msgspec.Struct):
    """A token, how likely it was, and the likely ones in its place."""

    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: "list[Token] | None" = None


class Content(msgspec.Struct):
    """A part of a message, of reasoning, or of its summary."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: list[Token] | None = None


class Item(msgspec.Struct):
    """A message, reasoning, a call, or what was not asked for."""

    type: str = ""
    id: str | None = None
    content: list[Content] | str | None = None
    summary: list[Content] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    phase: str | None = None

    @property
    def parts(self) -> list[Content]:
        """The parts of its content."""
        if isinstance(self.content, str):
            return [Content("output_text", self.content)]
        return self.content or []


class OutputDetails(msgspec.Struct):
    """How many tokens were thought."""

    reasoning_tokens: int | None = None


class Count(msgspec.Struct):
    """The count of tokens."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class Incomplete(msgspec.Struct):
    """Why an answer is not complete."""

    reason: str | None = None


class Response(msgspec.Struct):
    """An answer as a whole."""

    status: str | None = None
    output: list[Item] | None = None
    usage: Count | None = None
    incomplete_details: Incomplete | None = None
    error: msgspec.Raw = NO_ERROR


def usage_of(count: Count | None) -> Usage | None:
    """Return the count of tokens in the neutral form."""
    if count is None or count.input_tokens is None:
        return None
    asked, said = count.input_tokens, count.output_tokens or 0
    usage = Usage(asked, said, count.total_tokens or asked + said)
    if (details := count.output_tokens_details) is not None:
        usage.completion_tokens_details = UsageDetails(details.reasoning_tokens or 0)
    return usage


def logprobs_of(tokens: list[Token] | None) -> Logprobs | None:
    """Return the likelihoods in the neutral form; None if there are none."""
    if not tokens:
        return None
    return Logprobs(
        content=[
            TokenLogprob(
                token.token,
                token.logprob,
                token.bytes,
                [TopLogprob(top.token, top.logprob, top.bytes) for top in token.top_logprobs or ()],
            )
            for token in tokens
        ]
    )


def is_error(raw: msgspec.Raw) -> bool:
    """Whether an `error` member says that there is one."""
    return bytes(raw) not in (b"", b"null")
