"""The places of enclaves that share their keys: each has a way to every other, and to no more."""

from pathlib import Path

import pytest

from enclave_server.config import parse_config
from host_proxy.addresses import Unix
from host_proxy.options import from_command_line
from scripts.local.cluster import Place

FOLDER = Path("/f")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_holes_lead_to_the_doors_of_all_others_and_doors_to_where_enclaves_listen(
    count: int,
) -> None:
    places = [Place(FOLDER, number, count) for number in range(1, count + 1)]
    configs = [parse_config(place.settings()) for place in places]
    ways = [from_command_line(place.ways()) for place in places]
    assert all(config.cluster.enabled for config in configs)
    for number in range(count):
        peer = ways[number].connect
        assert isinstance(peer, Unix)
        assert configs[number].cluster.listen == str(peer)
        holes = {str(hole.listen): hole.target for hole in ways[number].egress}
        assert set(holes) == set(configs[number].cluster.peers)
        others = {ways[other].listen for other in range(count) if other != number}
        assert set(holes.values()) == others
        assert len(holes) == count - 1
    assert len({place.address for place in places}) == count
    assert {place.root for place in places} == {FOLDER / "root.pem"}


def test_what_else_is_configured_stays() -> None:
    settings = Place(FOLDER, 1, 2).settings('[stream]\npadding = "off"\n')
    config = parse_config(settings)
    assert config.stream.padding == "off"
    assert config.cluster.enabled
