"""Data of a training: splits, the dataset, its batches, their order and their augmentation."""
