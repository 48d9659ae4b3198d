"""Harnesses: one file for each parser, or for each pair of readers that have to agree."""
