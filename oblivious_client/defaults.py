"""What counts where nothing else is said."""

from __future__ import annotations

VERSION = "0.1.0"
"""As setup.cfg has it: what an installation says of itself takes longer to ask than all else."""

DEFAULT_MODEL = "smollm2-135m-instruct"

# Gateways remake their document every 30 minutes and relays may keep it as long.
MAX_AGE_SECONDS = 3600

PACKS = (10, 50, 100)
"""How many tokens are bought at a time. Equal amounts look alike: nobody is known by theirs."""
