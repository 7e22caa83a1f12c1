"""Permafrost: frozen encoders, encoded once, aligned many times."""

__version__ = "0.1.0"
