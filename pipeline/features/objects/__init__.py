"""Feature stores on object stores (s3, gs, azure): published whole, read through a local cache of bounded size."""
