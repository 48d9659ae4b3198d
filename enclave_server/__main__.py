"""`python -m enclave_server` is `enclave-server`."""

import sys

from enclave_server.cli import main

sys.exit(main())
