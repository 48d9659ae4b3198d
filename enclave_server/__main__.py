"""`enclave-server`, as a command and as `python -m enclave_server`."""

import sys

# Of the extra that the server needs and the client does not.
EXTRA = ("msgspec",)


def main() -> int:
    """Run the command; without the packages of its extra, say how they are installed."""
    try:
        from enclave_server import cli
    except ModuleNotFoundError as missing:
        if missing.name not in EXTRA:
            raise
        sys.stderr.write(
            f"enclave-server: {missing.name} is missing: "
            "install the server's packages with pip install '.[server]' in a checkout\n"
        )
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
