"""Faults of every kind, over every stage of a small project: what is tried, and what must hold afterwards."""
