"""What counts where nothing else is said."""

from __future__ import annotations

DEFAULT_MODEL = "smollm2-135m-instruct"

# Gateways remake their document every 30 minutes and relays may keep it as long.
MAX_AGE_SECONDS = 3600
