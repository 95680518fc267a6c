"""Networks as files for other programs: written, described, and proved to compute the same."""
