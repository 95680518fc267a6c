"""Figures of the paper: reconstructed faces, label frequencies, and intensity over a clip."""
