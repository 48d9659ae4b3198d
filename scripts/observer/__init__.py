"""What an observer at the relay can tell of answers."""
