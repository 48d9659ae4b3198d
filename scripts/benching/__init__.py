"""The parts of `scripts/bench`: floors, servers under load, the load itself, the picture."""
