"""A client of before X-Wing, as far as it differs from one of today."""

from collections.abc import Iterator

import pytest

from protocol.kem import KEMS, X_WING


@pytest.fixture
def without_x_wing() -> Iterator[None]:
    """Have X-Wing not be implemented for one test."""
    kept = dict(KEMS)
    del KEMS[X_WING.code]
    yield
    KEMS.clear()
    KEMS.update(kept)  # in their order, which is one of preference
