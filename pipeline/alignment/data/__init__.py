"""What heads are fitted on: cached features joined with captions and splits, wherever they lie in memory."""
