"""Use with other tools of the field: an aligner as a CLIP model, and test splits in CLIP_benchmark's layout."""
