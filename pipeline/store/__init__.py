"""The store command lists, verifies and repairs feature stores, and frees what none of them needs."""
