"""One small module a dataset: its own files in, a ``Reading`` out; ``reading.read`` finds them by name."""
