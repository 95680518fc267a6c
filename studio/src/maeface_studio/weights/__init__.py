"""The weights that maeface ships, made again from nothing."""
