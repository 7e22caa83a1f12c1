"""Heads that are computed from statistics of the training pairs rather than trained."""
