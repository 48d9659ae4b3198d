"""The command `token-issuer`, as a module."""

import sys

from token_issuer.cli import main

if __name__ == "__main__":
    sys.exit(main())
