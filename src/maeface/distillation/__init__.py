"""A small face detector learned from a large one's answers on composed pictures."""
