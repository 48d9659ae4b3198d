"""Keys of notes: published examples, who has signed, and that no kind passes for another."""

import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.note_key import (
    LATEST_TIME,
    NoteKey,
    NoteKeyKind,
    NoteSigner,
    Signed,
    cosigned_message,
    signers,
)
from protocol.signed_note import Note, NoteSignature
from tests.support.releases import BUILDERS, STRANGER, signer, witness

# The example of C2SP's signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
BUILDER, WITNESS = BUILDERS[0], witness("witness-a.example")


def test_the_example_of_the_specification() -> None:
    key = NoteKey.decode(VKEY)
    assert (key.name, key.kind, key.key_id.hex()) == (
        "example.com/foo",
        NoteKeyKind.ED25519,
        "530d903a",
    )
    assert key.encode() == VKEY
    note = Note.decode(EXAMPLE)
    assert signers(note, [key]) == (Signed(key, None),)
    with pytest.raises(SignatureInvalid):
        signers(Note("This is another message.\n", note.signatures), [key])


def test_the_message_of_a_cosignature_is_the_specifications() -> None:
    assert cosigned_message(TEXT, 1679315147) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        VKEY[:-1],
        VKEY + "\n",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("example", "exbmple"),
        VKEY.replace("AekyeR", "CekyeR"),
        "a+00000000+",
        "a+00000000+AQ==",
        "+00000000+" + VKEY.rpartition("+")[2],
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(MalformedMessage):
        NoteKey.decode(text)


def test_keys_are_written_and_read() -> None:
    for each in (BUILDER, WITNESS):
        assert NoteKey.decode(each.key.encode()) == each.key
    with pytest.raises(ValueError, match="public key"):
        NoteKey("a", NoteKeyKind.ED25519, bytes(31))


def test_kinds_have_the_numbers_of_the_specification() -> None:
    numbers = [(kind.value, kind.is_timed) for kind in NoteKeyKind]
    assert numbers == [(0x01, False), (0x04, True), (0x06, True)]


def test_who_has_signed() -> None:
    note = Note(TEXT, ()).signed([BUILDER.sign(TEXT), WITNESS.sign(TEXT, 7), STRANGER.sign(TEXT)])
    assert signers(note, [BUILDER.key, WITNESS.key]) == (
        Signed(BUILDER.key, None),
        Signed(WITNESS.key, 7),
    )
    assert signers(note, [BUILDERS[1].key]) == ()


def test_twice_the_same_key_counts_once_and_the_later_time_counts() -> None:
    for times in ((7, 9), (9, 7)):
        lines = [WITNESS.sign(TEXT, time) for time in times]
        assert signers(Note(TEXT, tuple(lines)), [WITNESS.key]) == (Signed(WITNESS.key, 9),)
    line = BUILDER.sign(TEXT)
    assert signers(Note(TEXT, (line, line)), [BUILDER.key]) == (Signed(BUILDER.key, None),)


def test_an_unknown_signer_is_passed_over_whatever_it_shares() -> None:
    line = STRANGER.sign(TEXT)
    same_name = NoteSignature(BUILDER.name, line.key_id, line.signature)
    same_id = NoteSignature("c.example", BUILDER.key.key_id, line.signature)
    lines = (same_name, same_id)
    assert signers(Note(TEXT, lines), [BUILDER.key]) == ()
    known = Note(TEXT, (*lines, BUILDER.sign(TEXT)))
    assert signers(known, [BUILDER.key]) == (Signed(BUILDER.key, None),)


def test_a_forged_line_of_a_known_key_is_an_error() -> None:
    line = STRANGER.sign(TEXT)
    forged = NoteSignature(BUILDER.name, BUILDER.key.key_id, line.signature)
    with pytest.raises(SignatureInvalid):
        signers(Note(TEXT, (BUILDER.sign(TEXT), forged)), [BUILDER.key])


def test_no_kind_passes_for_another() -> None:
    # One private key, used for both kinds, which nobody should do.
    plain = signer("a.example")
    timed = NoteSigner("a.example", NoteKeyKind.ED25519_COSIGNATURE, plain.private_key)
    message = cosigned_message(TEXT, 5).decode()
    assert plain.key.key_id != timed.key.key_id
    signature = plain.sign(message).signature
    assert timed.key.verify(TEXT, struct.pack(">Q", 5) + signature) == 5
    for wrong in (plain.sign(TEXT).signature, struct.pack(">Q", 5) + plain.sign(TEXT).signature):
        with pytest.raises(SignatureInvalid):
            timed.key.verify(TEXT, wrong)


@pytest.mark.parametrize("change", ["time", "text", "short", "shorter", "long", "late"])
def test_a_cosignature_that_was_altered(change: str) -> None:
    signature = WITNESS.sign(TEXT, 5).signature
    text = TEXT
    match change:
        case "time":
            signature = struct.pack(">Q", 6) + signature[8:]
        case "text":
            text = TEXT.replace("behind", "before")
        case "short":
            signature = signature[:8]
        case "shorter":
            signature = signature[:7]
        case "long":
            signature += b"\0"
        case "late":
            signature = WITNESS.sign(TEXT, LATEST_TIME + 1).signature
    with pytest.raises(SignatureInvalid):
        WITNESS.key.verify(text, signature)


def test_the_latest_time_is_one_that_json_holds() -> None:
    assert WITNESS.key.verify(TEXT, WITNESS.sign(TEXT, LATEST_TIME).signature) == 2**53 - 1


def test_a_time_belongs_to_cosignatures_alone() -> None:
    for each, time in ((BUILDER, 5), (WITNESS, None)):
        with pytest.raises(ValueError, match="has a time"):
            each.sign(TEXT, time)


def test_witnesses_with_ml_dsa() -> None:
    private = MLDSA44PrivateKey.generate()
    kind = NoteKeyKind.ML_DSA_44_COSIGNATURE
    key = NoteKey("w.example", kind, private.public_key().public_bytes_raw())
    assert NoteKey.decode(key.encode()) == key
    origin, root = (
        b"example.com/behind-the-sofa",
        bytes.fromhex("0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"),
    )
    # The structure of the specification, written out.
    message = b"subtree/v1\n\0" + b"\x09w.example" + (77).to_bytes(8, "big")
    message += bytes([len(origin)]) + origin + bytes(8) + (20852163).to_bytes(8, "big") + root
    signature = (77).to_bytes(8, "big") + private.sign(message)
    assert key.verify(TEXT, signature) == 77
    for text, wrong in (
        (TEXT.replace("3\n", "4\n"), signature),
        ("no checkpoint\n", signature),
        (TEXT, (78).to_bytes(8, "big") + signature[8:]),
        (TEXT, signature[:-1]),
        ("a" * 256 + TEXT[TEXT.index("\n") :], signature),
    ):
        with pytest.raises(SignatureInvalid):
            key.verify(text, wrong)


def test_a_private_key_is_not_shown() -> None:
    private = Ed25519PrivateKey.generate()
    assert "private_key" not in repr(NoteSigner("a", NoteKeyKind.ED25519, private))
