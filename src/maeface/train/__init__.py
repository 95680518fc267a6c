"""How a model learns: the run folder, the optimiser and the one training loop. Knows no dataset."""
