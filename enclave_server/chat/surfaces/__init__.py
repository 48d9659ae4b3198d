"""What clients speak, inside the seal."""
