"""Evidence for keys, made by the security module."""

from enclave_server.security_module.nsm import SecurityModule
from protocol.attestation import decode_attestation
from protocol.certificates import load_certificate
from protocol.evidence import Evidence, attested_config, encode_user_data
from protocol.key_config import decode_key_configs
from protocol.signature import SigningKeys, encode_pem, encode_spki


class Attester:
    """Binds lists of keys, the keys that sign answers and the token catalogue to this enclave."""

    __slots__ = ("_catalogue", "_ed25519_pem", "_module", "_rsa_pem", "_spkis")

    def __init__(
        self,
        module: SecurityModule,
        signing_keys: SigningKeys,
        token_catalogue: bytes | None = None,
    ) -> None:
        rsa, ed25519 = signing_keys.public_keys
        self._module, self._catalogue = module, token_catalogue
        self._spkis = encode_spki(rsa), encode_spki(ed25519)
        self._rsa_pem, self._ed25519_pem = encode_pem(rsa), encode_pem(ed25519)

    def attest(self, ohttp_keys: bytes, nonce: bytes | None = None) -> Evidence:
        """Return new evidence for exactly these application/ohttp-keys bytes, or raise NsmError."""
        held = attested_config(decode_key_configs(ohttp_keys))
        if held is None:
            raise ValueError("no key configuration fits a document")
        document = self._module.attest(
            encode_user_data(ohttp_keys, *self._spkis, self._catalogue), held.encode(), nonce
        )
        platform = self._module.platform
        rsa, ed25519 = self._rsa_pem, self._ed25519_pem
        return Evidence(document, ohttp_keys, rsa, platform, ed25519, self._catalogue)


def document_time(document: bytes) -> float:
    """Return when the security module says that it made its document, in Unix seconds."""
    return decode_attestation(document).timestamp / 1000


def certificate_end(document: bytes) -> float:
    """Return when the certificate that signed a document ends, in Unix seconds."""
    leaf = load_certificate(decode_attestation(document).certificate)
    return leaf.not_valid_after_utc.timestamp()
