"""The supervisor, its workers, and how they start and end."""
