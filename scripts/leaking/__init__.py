"""What an observer at the relay can tell: answers to watch, the watching, the telling apart."""
