"""What ``training.py`` and ``gpu.py`` share: steps to be timed, measurements in turns, checks, crops."""
