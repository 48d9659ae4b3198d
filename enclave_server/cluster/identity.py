"""What an enclave is to others of its cluster: its documents, and what it demands of theirs."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from enclave_server.security_module.nsm import SecurityModule
from protocol.cluster_join import FAMILY_BYTES, NONCE_BYTES, Equality
from protocol.signature import SigningKeys, encode_spki
from protocol.slots import OWNER_BYTES

LOWEST = bytes(16)
"""With which no nonce begins that was drawn."""


class Unequal(Exception):
    """This enclave cannot be the equal of any; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A security module, and what another one has to measure."""

    module: SecurityModule
    equality: Equality

    @property
    def before_all(self) -> bytes:
        """What a member that does not lead says in the place of a nonce: the lowest of its equals.

        It names the measurements, so that who has others does not wait for it: at an upgrade the
        members of before are there as well, and will never lead those that come.
        """
        told = b"".join(bytes((index,)) + pcr for index, pcr in sorted(self.equality.pcrs.items()))
        return LOWEST + hashlib.sha256(told).digest()[: NONCE_BYTES - len(LOWEST)]

    def attest(self, user_data: bytes, nonce: bytes) -> bytes:
        """Return a document of this enclave's, or raise NsmError."""
        return self.module.attest(user_data, None, nonce)


def make_identity(module: SecurityModule, registers: Iterable[int]) -> Identity:
    """Return the identity of the enclave of `module`, which has others be equal in `registers`.

    Raises NsmError, and Unequal for a register that is zero: in debug mode all are.
    """
    pcrs = {index: module.describe_pcr(index) for index in registers}
    try:
        return Identity(module, Equality(module.root, pcrs))
    except ValueError as error:
        raise Unequal(str(error)) from None


def new_member() -> bytes:
    """Return an identifier for one stay in a cluster; it never comes twice."""
    return secrets.token_bytes(OWNER_BYTES)


def family_of(signing_keys: SigningKeys) -> bytes:
    """Return 16 octets by which those know each other that go back to one first enclave."""
    spki = encode_spki(signing_keys.rsa.public_key())
    return hashlib.sha256(spki).digest()[:FAMILY_BYTES]
