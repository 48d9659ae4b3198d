"""Merkle roots: against the vectors of RFC 6962's own reference, and its recursive definition."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.merkle_tree import leaf_hash, node_hash, root_hash

# The entries and roots that certificate-transparency-go tests itself with (merkle tree tests).
ENTRIES = [
    bytes.fromhex(each)
    for each in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize(("count", "root"), list(enumerate(ROOTS, 1)))
def test_published_roots(count: int, root: str) -> None:
    assert root_hash(ENTRIES[:count]).hex() == root


def test_of_nothing_it_is_the_hash_of_nothing() -> None:
    assert root_hash([]) == hashlib.sha256(b"").digest()


def defined(entries: list[bytes]) -> bytes:
    """RFC 6962, Section 2.1, as it is written."""
    if len(entries) == 1:
        return leaf_hash(entries[0])
    half = 1 << ((len(entries) - 1).bit_length() - 1)
    return node_hash(defined(entries[:half]), defined(entries[half:]))


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=70))
def test_it_is_as_defined(entries: list[bytes]) -> None:
    assert root_hash(entries) == defined(entries)


def test_a_leaf_is_no_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert root_hash([left + right]) != root_hash([b"a", b"b"])
