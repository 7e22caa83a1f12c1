"""A page on this machine that plays with fitted aligners and their feature stores."""
