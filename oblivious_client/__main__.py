"""`python -m oblivious_client`."""

import sys

from oblivious_client.cli import main

sys.exit(main())
