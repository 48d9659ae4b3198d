"""Evidence for keys, made by the security module."""

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enclave_server.security_module.nsm import SecurityModule
from protocol.attestation import decode_attestation
from protocol.certificates import load_certificate
from protocol.evidence import Evidence, attested_config, encode_user_data
from protocol.key_config import decode_key_configs


class Attester:
    """Binds lists of keys, and the one key that signs answers, to this enclave."""

    __slots__ = ("_module", "_pem", "_spki")

    def __init__(self, module: SecurityModule, signing_key: RSAPrivateKey) -> None:
        public = signing_key.public_key()
        self._module = module
        self._spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def attest(self, ohttp_keys: bytes, nonce: bytes | None = None) -> Evidence:
        """Return new evidence for exactly these application/ohttp-keys bytes, or raise NsmError."""
        held = attested_config(decode_key_configs(ohttp_keys))
        if held is None:
            raise ValueError("no key configuration fits a document")
        document = self._module.attest(
            encode_user_data(ohttp_keys, self._spki), held.encode(), nonce
        )
        return Evidence(document, ohttp_keys, self._pem, self._module.platform)


def document_time(document: bytes) -> float:
    """Return when the security module says that it made its document, in Unix seconds."""
    return decode_attestation(document).timestamp / 1000


def certificate_end(document: bytes) -> float:
    """Return when the certificate that signed a document ends, in Unix seconds."""
    leaf = load_certificate(decode_attestation(document).certificate)
    return leaf.not_valid_after_utc.timestamp()
