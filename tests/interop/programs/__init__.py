"""Programs of other people: what they ask the local endpoint, and print of the answers."""
