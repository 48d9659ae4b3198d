"""Checkpoints: three lines in their one form."""

import pytest

from protocol.checkpoint import Checkpoint
from protocol.errors import MalformedMessage

# The example of the specification.
TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


def test_the_example_of_the_specification() -> None:
    found = Checkpoint.decode(TEXT)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root.hex().startswith("0ac5186a91863e8e")
    assert found.encode() == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "an extension\n",
        f"\n1\n{ROOT}\n",
        f"a\n01\n{ROOT}\n",
        f"a\n-1\n{ROOT}\n",
        f"a\n+1\n{ROOT}\n",
        f"a\n1_0\n{ROOT}\n",
        f"a\n\u0661\n{ROOT}\n",
        f"a\n\n{ROOT}\n",
        f"a\n{'1' * 20}\n{ROOT}\n",
        f"a\n1\n{ROOT[:-1]}\n",
        f"a\n1\n{ROOT[:-2]}J=\n",
        "a\n1\nAAAA\n",
        "a\n1\n\n",
        f"a\t\n1\n{ROOT}\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(MalformedMessage):
        Checkpoint.decode(text)


def test_a_list_may_be_empty() -> None:
    assert Checkpoint.decode(f"a\n0\n{ROOT}\n").size == 0
