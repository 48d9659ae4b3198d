"""Refusals of lists: one root for all, and each with what is wrong."""

from oblivious_client.releases.refusals import ListFault, ListRefused
from protocol.errors import ProtocolError


def test_a_refusal_says_what_is_wrong() -> None:
    refused = ListRefused(ListFault.ROOT, "its checkpoint is of other entries")
    assert isinstance(refused, ProtocolError)
    assert (refused.fault.value, str(refused)) == ("root", "its checkpoint is of other entries")
    assert len({fault.value for fault in ListFault}) == len(ListFault)
