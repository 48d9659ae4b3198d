"""The dialects by the names that configurations use."""

from enclave_server.chat.dialects.anthropic.dialect import AT_BEDROCK, AT_VERTEX, DIRECT
from enclave_server.chat.dialects.bedrock.dialect import Bedrock
from enclave_server.chat.dialects.dialect import Dialect
from enclave_server.chat.dialects.gemini.dialect import Gemini
from enclave_server.chat.dialects.openai_chat.dialect import OpenAIChat
from enclave_server.chat.dialects.openai_responses.dialect import OpenAIResponses

DIALECTS: dict[str, Dialect] = {
    "anthropic": DIRECT,
    "anthropic-bedrock": AT_BEDROCK,
    "anthropic-vertex": AT_VERTEX,
    "bedrock": Bedrock(),
    "gemini": Gemini(),
    "openai-chat": OpenAIChat(),
    "openai-responses": OpenAIResponses(),
}


def find_dialect(name: str) -> Dialect:
    """Return the dialect of that name; raises ValueError, which lists those there are."""
    dialect = DIALECTS.get(name)
    if dialect is None:
        raise ValueError(f"there is no dialect {name!r}, only {', '.join(sorted(DIALECTS))}")
    return dialect
