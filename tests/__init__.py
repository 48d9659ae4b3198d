"""The tests, one file for each module and one for each promise."""
