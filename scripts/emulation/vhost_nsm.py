"""Nitro Secure Modules as vhost-user devices (virtio identifier 33), under a root of their own.

    vhost_nsm.py SOCKET... --pcrs PCRS.json --root ROOT.pem [--authority AUTHORITY.pem]

A guest's driver shows its module as /dev/nsm. PCRS.json is what eif.py measured; nobody here
measures what was really booted. Documents have AWS's form (untagged COSE_Sign1, ES384, a
leaf certificate that lasts three hours) and chain to a root made at start, whose
certificate is written to ROOT.pem and whose key never leaves this process. AUTHORITY.pem
has key and certificate of a root that was made before, for an image that has to know it.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import hashlib
import json
import os
import pathlib
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from scripts.emulation.vhost_user import Chain, Device, Queue

MODULE_ID = "i-lab-enc{:013d}"
ROOT_NAME = "lab.nitro-enclaves"
PCR_COUNT = 32
FIRST_FREE_PCR = 16  # those below are locked when an enclave starts
LEAF_LIFETIME = datetime.timedelta(hours=3)
CA_LIFETIME = datetime.timedelta(days=1)
LIMITS = {"user_data": 512, "nonce": 512, "public_key": 1024}
ES384 = cbor2.dumps({1: -35})


@dataclass(frozen=True, slots=True)
class Signer:
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def issue(cls, name: str, issuer: Signer | None, path_length: int | None) -> Signer:
        """Make a key and its certificate: a leaf where `path_length` is None."""
        key = ec.generate_private_key(ec.SECP384R1())
        authority = path_length is not None
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=_name(issuer.name if issuer else name),
            subject_name=_name(name),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(minutes=1),
            not_valid_after=now + (CA_LIFETIME if authority else LEAF_LIFETIME),
        ).add_extension(x509.BasicConstraints(authority, path_length), critical=True)
        builder = builder.add_extension(
            _usage("key_cert_sign" if authority else "digital_signature"), critical=True
        )
        return cls(name, key, builder.sign(issuer.key if issuer else key, SHA384()))

    @classmethod
    def load(cls, pem: bytes) -> Signer:
        """Return the root that `pem` gave."""
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("a root signs with ECDSA")
        return cls(ROOT_NAME, key, x509.load_pem_x509_certificate(pem))

    def pem(self) -> bytes:
        """Return key and certificate; secret, as far as anything of an emulation is."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + self.certificate.public_bytes(Encoding.PEM)

    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def sign(self, protected: bytes, payload: bytes) -> bytes:
        """Return an ES384 signature as COSE wants it; half of them have a high s."""
        message = cbor2.dumps(["Signature1", protected, b"", payload])
        r, s = utils.decode_dss_signature(self.key.sign(message, ec.ECDSA(SHA384())))
        return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def _usage(purpose: str) -> x509.KeyUsage:
    """Return a key usage of one purpose, as AWS asks of authorities and of leaves."""
    purposes = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: name == purpose for name in purposes.split()})


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


class SecureModule:
    """The requests of the Nitro Secure Module API and their answers, both as CBOR values."""

    def __init__(self, pcrs: dict[int, bytes], root: Signer, number: int) -> None:
        self._pcrs = [pcrs.get(index, bytes(48)) for index in range(PCR_COUNT)]
        self._locked = set(range(FIRST_FREE_PCR))
        self._root = root
        self._zone = Signer.issue("lab.zone.nitro-enclaves", root, 0)
        self._module_id = MODULE_ID.format(number)

    def answer(self, request: Any) -> Any:
        match request:
            case "DescribeNSM":
                return {"DescribeNSM": self._description()}
            case "GetRandom":
                return {"GetRandom": {"random": os.urandom(256)}}
            case {"DescribePCR": {"index": int(index)}} if 0 <= index < PCR_COUNT:
                state = {"lock": index in self._locked, "data": self._pcrs[index]}
                return {"DescribePCR": state}
            case {"ExtendPCR": {"index": int(index), "data": bytes(data)}}:
                return self._extend(index, data)
            case {"LockPCR": {"index": int(index)}} if 0 <= index < PCR_COUNT:
                self._locked.add(index)
                return {"LockPCR": {}}
            case {"LockPCRs": {"range": int(count)}} if 0 <= count <= PCR_COUNT:
                self._locked |= set(range(count))
                return {"LockPCRs": {}}
            case {"Attestation": dict(fields)}:
                return self._attest(fields)
        return {"Error": "InvalidOperation"}

    def _description(self) -> dict[str, Any]:
        version = {"version_major": 1, "version_minor": 0, "version_patch": 0}
        pcrs = {"max_pcrs": PCR_COUNT, "locked_pcrs": sorted(self._locked)}
        return {**version, "module_id": self._module_id, **pcrs, "digest": "SHA384"}

    def _extend(self, index: int, data: bytes) -> Any:
        if not 0 <= index < PCR_COUNT:
            return {"Error": "InvalidIndex"}
        if index in self._locked:
            return {"Error": "ReadOnlyIndex"}
        self._pcrs[index] = hashlib.sha384(self._pcrs[index] + data).digest()
        return {"ExtendPCR": {"data": self._pcrs[index]}}

    def _attest(self, fields: dict[str, Any]) -> Any:
        given = {name: fields.get(name) for name in ("public_key", "user_data", "nonce")}
        for name, value in given.items():
            if value is not None and not isinstance(value, bytes):
                return {"Error": "InvalidArgument"}
            if value is not None and len(value) > LIMITS[name]:
                return {"Error": "InputTooLarge"}
        leaf = Signer.issue(self._module_id, self._zone, None)
        document = {
            "module_id": self._module_id,
            "digest": "SHA384",
            "timestamp": time.time_ns() // 1_000_000,
            "pcrs": {index: self._pcrs[index] for index in sorted(self._locked)},
            "certificate": leaf.der(),
            "cabundle": [self._root.der(), self._zone.der()],
            **given,
        }
        payload = cbor2.dumps(document)
        signed = [ES384, {}, payload, leaf.sign(ES384, payload)]
        return {"Attestation": {"document": cbor2.dumps(signed)}}


class NsmDevice(Device):
    """One queue; the driver adds a request and a buffer for the answer as separate chains."""

    def __init__(self, path: str, module: SecureModule) -> None:
        super().__init__(path)
        self._module = module
        self._requests: deque[Chain] = deque()
        self._buffers: deque[Chain] = deque()

    def on_stop(self) -> None:
        self._requests.clear()
        self._buffers.clear()

    def on_kick(self, queue: Queue) -> None:
        for chain in self.chains(queue):
            (self._buffers if chain.writable else self._requests).append(chain)
        while self._requests and self._buffers:
            request, buffer = self._requests.popleft(), self._buffers.popleft()
            answer = self._answer(request.read(), buffer.capacity)
            queue.push(request, 0)
            queue.push(buffer, buffer.write(answer))
            queue.signal()

    def _answer(self, request: bytes, capacity: int) -> bytes:
        try:
            answer = cbor2.dumps(self._module.answer(cbor2.loads(request)))
        except (ValueError, EOFError):  # cbor2's errors are among these
            answer = cbor2.dumps({"Error": "InvalidOperation"})
        return answer if len(answer) <= capacity else cbor2.dumps({"Error": "BufferTooSmall"})


async def serve(devices: list[NsmDevice]) -> None:
    for device in devices:
        device.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Nitro Secure Modules, over vhost-user")
    parser.add_argument("socket", nargs="+")
    parser.add_argument("--pcrs", type=pathlib.Path, required=True, help='{"PCR0": hex, ...}')
    parser.add_argument("--root", type=pathlib.Path, required=True, help="file to write")
    parser.add_argument("--authority", type=pathlib.Path, help="a root that was made before")
    arguments = parser.parse_args()
    measured = json.loads(arguments.pcrs.read_text())
    pcrs = {int(k.removeprefix("PCR")): bytes.fromhex(v) for k, v in measured.items()}
    given = arguments.authority
    root = Signer.load(given.read_bytes()) if given else Signer.issue(ROOT_NAME, None, 1)
    arguments.root.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    os.umask(0o077)
    modules = [SecureModule(dict(pcrs), root, place) for place in range(len(arguments.socket))]
    pairs = zip(arguments.socket, modules, strict=True)
    asyncio.run(serve([NsmDevice(path, module) for path, module in pairs]))


if __name__ == "__main__":
    main()
