"""Frozen encoders: local checkpoints, and the features their own libraries compute from them.

`checkpoint` and `manifest` import no model library; `image` and `text` do, when they load.
"""
