"""Exit codes: scripts rely on them, so each stays what it is."""

from oblivious_client.exits import Exit, table


def test_a_code_stays_what_it_is() -> None:
    assert {each.name: each.value for each in Exit} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "NO_CONNECTION": 3,
        "OUTER_REFUSAL": 4,
        "SERVICE_ERROR": 5,
        "TRUNCATED": 6,
        "UNREADABLE": 7,
        "ANSWER_SIGNATURE": 8,
        "EVIDENCE_MALFORMED": 10,
        "CHAIN": 11,
        "PCRS": 12,
        "DEBUG_MODE": 13,
        "STALE": 14,
        "SIMULATED": 15,
        "KEYS_UNBOUND": 16,
        "UNPINNED": 17,
        "PROVISIONED_BEFORE": 18,
        "NOT_ADMINISTRATOR": 19,
        "NO_TOKEN": 20,
        "TOKEN_REFUSED": 21,
        "ISSUER_REFUSED": 22,
        "CATALOGUE": 23,
        "WALLET": 24,
        "RELEASES_STALE": 25,
        "RELEASES_REFUSED": 26,
        "RELEASES_CONFLICT": 27,
        "KEYS_UNSEEN": 28,
        "INTERRUPTED": 130,
    }


def test_the_table_names_each_code_once() -> None:
    lines = table().splitlines()
    assert lines == [f"  {each.value:>3}  {each.meaning}" for each in Exit]
    assert lines[0] == "    0  the answer came, or everything that was checked holds"
    assert len({each.meaning for each in Exit}) == len(Exit)
