"""Networks as files for other programs: writing them, describing them, and proof that they compute the same."""
