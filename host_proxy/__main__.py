"""`python -m host_proxy`."""

import sys

from host_proxy.cli import main

sys.exit(main())
