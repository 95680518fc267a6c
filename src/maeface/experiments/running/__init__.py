"""Run an experiment: plan its parts, prepare its datasets, train and test each part."""
