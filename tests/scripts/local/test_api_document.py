"""docs/api.md is what the docstrings of today say."""

import oblivious_client
from scripts.local import api_document


def test_the_document_is_up_to_date() -> None:
    # After a change of the client: ./scripts/api-docs
    assert api_document.DOCUMENT.read_text(encoding="utf-8") == api_document.document()


def test_everything_that_is_exported_is_described() -> None:
    sections = api_document.document().split("\n## ")[1:]
    assert sorted(section.partition("\n")[0] for section in sections) == oblivious_client.__all__
    assert all(len(section.splitlines()) > 2 for section in sections)
    assert "- `chat(question: Question, *, model: str = " in api_document.document()
