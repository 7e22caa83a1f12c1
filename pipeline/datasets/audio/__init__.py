"""Sounds: decoding, windows, their tables in an index, and where they come from."""
