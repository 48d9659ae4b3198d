"""Feeds the project's parsers with inputs that nobody would write, guided by what they reach."""
