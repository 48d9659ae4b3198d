"""The dialects by the names that configurations use."""

from enclave_server.chat.dialects.anthropic.dialect import AT_BEDROCK, AT_VERTEX, DIRECT
from enclave_server.chat.dialects.bedrock.dialect import Bedrock
from enclave_server.chat.dialects.dialect import Dialect, EmbeddingDialect
from enclave_server.chat.dialects.gemini.dialect import Gemini
from enclave_server.chat.dialects.openai_chat.dialect import OpenAIChat
from enclave_server.chat.dialects.openai_responses.dialect import OpenAIResponses

GEMINI = Gemini()
OPENAI_CHAT = OpenAIChat()

DIALECTS: dict[str, Dialect] = {
    "anthropic": DIRECT,
    "anthropic-bedrock": AT_BEDROCK,
    "anthropic-vertex": AT_VERTEX,
    "bedrock": Bedrock(),
    "gemini": GEMINI,
    "openai-chat": OPENAI_CHAT,
    "openai-responses": OpenAIResponses(),
}

EMBEDDING_DIALECTS: dict[str, EmbeddingDialect] = {"gemini": GEMINI, "openai-chat": OPENAI_CHAT}

# Their APIs have no place for instructions between messages.
WITHOUT_LATER_INSTRUCTIONS = frozenset({"gemini"})


def find_dialect(name: str) -> Dialect:
    """Return the dialect of that name; raises ValueError, which lists those there are."""
    dialect = DIALECTS.get(name)
    if dialect is None:
        raise ValueError(f"there is no dialect {name!r}, only {', '.join(sorted(DIALECTS))}")
    return dialect


def find_embedding_dialect(name: str) -> EmbeddingDialect:
    """Return the dialect of that name, which makes embeddings; ValueError if it makes none."""
    dialect = EMBEDDING_DIALECTS.get(name)
    if dialect is None:
        raise ValueError(f"the dialect {name!r} makes no embeddings")
    return dialect
