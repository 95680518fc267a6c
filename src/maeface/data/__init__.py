"""Prepared faces on disk: the manifest, the shards, the labels and the batches that training reads."""
