"""Report an experiment from its finished parts."""
