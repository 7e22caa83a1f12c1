"""The store command: what is stored, how large, by which encoder, is it intact, and mending it."""
