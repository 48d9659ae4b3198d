"""How many tokens a conversation has, about: nobody is asked, and no tokenizer is at hand.

Programs use the count to tell how full a context is. It is rather too high than too low.
"""

from enclave_server.chat.conversation import Conversation, File, Image
from enclave_server.chat.cost import amounts

# Of text and schemas; a token of English has four octets, one of code or of other scripts fewer.
OCTETS_PER_TOKEN = 3.5
TOKENS_PER_MESSAGE = 4

# The most that providers count for one image, and for so much of a document's base64.
TOKENS_PER_IMAGE = 1600
DOCUMENT_OCTETS_PER_TOKEN = 40

MANY_NODES = 1 << 18


def count_tokens(question: Conversation) -> int:
    """Return about how many tokens `question` has."""
    # Counts of text grow from one field to the next: the last one is of all.
    octets = max(
        amount.count for amount in amounts(question, MANY_NODES) if amount.bound == "text_bytes"
    )
    images = sum(isinstance(part, Image) for part in question.shown)
    documents = sum(len(part.data) for part in question.shown if isinstance(part, File))
    return (
        int(octets / OCTETS_PER_TOKEN)
        + TOKENS_PER_MESSAGE * len(question.messages)
        + TOKENS_PER_IMAGE * images
        + documents // DOCUMENT_OCTETS_PER_TOKEN
    )
