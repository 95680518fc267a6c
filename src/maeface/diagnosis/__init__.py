"""What is installed on a machine, whether it works, and how fast: the findings of ``maeface doctor``."""
