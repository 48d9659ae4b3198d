"""`token-issuer`, as a command and as `python -m token_issuer`."""

import sys

# Of the extra that the issuer needs and the client does not.
EXTRA = (
    "alembic",
    "gmpy2",
    "gunicorn",
    "msgspec",
    "prometheus_client",
    "psycopg",
    "sqlalchemy",
    "werkzeug",
)


def main() -> int:
    """Run the command; without the packages of its extra, say how they are installed."""
    try:
        from token_issuer import cli

        return cli.main()  # some are imported only by the command that needs them
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        sys.stderr.write(
            f"token-issuer: {package} is missing: "
            "install the issuer's packages with pip install '.[issuer]' in a checkout\n"
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
