"""Whose certificates are trusted when an upstream is reached in TLS."""

import ssl

from enclave_server.chat.upstream.endpoint import Upstream


def ssl_context(upstream: Upstream) -> ssl.SSLContext | None:
    """Return a verifying context (system certificates, or `ca_file` alone); None for plain.

    Raises OSError for a file that has no certificates.
    """
    if upstream.tls_name is None:
        return None
    context = ssl.create_default_context(cafile=upstream.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
