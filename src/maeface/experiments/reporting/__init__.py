"""Report an experiment from its finished parts: scores, tables, comparison with the paper, caveats."""
