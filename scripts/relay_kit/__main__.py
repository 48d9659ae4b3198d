"""`python -m scripts.relay_kit` is the command `scripts/relay_check`."""

import sys

from scripts.relay_kit.cli import main

sys.exit(main())
