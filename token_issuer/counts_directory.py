"""A place in which the processes of a server keep their counts, so that any of them tells all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus_client looks for it, when it is imported and not later."""


@contextlib.contextmanager
def counts_directory() -> Iterator[None]:
    """Make the place, name it in the environment, and remove it at the end."""
    own = os.getpid()
    place = tempfile.mkdtemp(prefix="token-issuer-")
    os.environ[VARIABLE] = place
    try:
        yield
    finally:
        # A forked process comes by here too when it ends, and leaves the others their place.
        if os.getpid() == own:
            shutil.rmtree(place)
            del os.environ[VARIABLE]
