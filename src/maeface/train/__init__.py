"""Training: the run folder, the optimiser, checkpoints and the one training loop. Knows no dataset."""
