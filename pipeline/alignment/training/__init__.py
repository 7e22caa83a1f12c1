"""Training heads by gradients: the loop, the optimiser step, checkpoints and what is recorded on the way."""
