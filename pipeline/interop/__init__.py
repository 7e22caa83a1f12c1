"""Doors to the field's other tools: an aligner as a CLIP model, and test splits in CLIP_benchmark's layout."""
