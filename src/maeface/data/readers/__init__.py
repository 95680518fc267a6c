"""Readers of datasets, a module for each; ``raw_dataset.read`` calls them by name."""
