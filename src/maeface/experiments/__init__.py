"""Whole experiments: what is trained on what, run part by part, and the report of it."""
