"""Releases: signed statements of which code runs, in a list that everybody sees alike.

How it works. Builders build the enclave's image, each on machines of his own, and sign the same
statement of its measurements (`statements`). All statements stand in one list, `releases.json`,
whose checkpoint names their number and their Merkle root; the log's key signs it, and witnesses
add at what time it was the longest list they knew (`published`). What a client holds against that
is `trust`: names, keys and thresholds. Which releases will do at a time is `acceptance`: not below
the floor, and not long after a successor. `memory` keeps the longest list that was seen, so that
nobody can later show a shorter one or another past; `source` joins all of it for a route.

Nothing in this room opens a socket; lists are fetched by `oblivious_client.fetching`.
"""
