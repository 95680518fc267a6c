"""Hair as strands: scalp, brows, lashes and beard."""
