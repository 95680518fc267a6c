"""What training reads: the dataset, its order, its augmentation and its split."""
