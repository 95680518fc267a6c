"""The training of the face detector that maeface ships."""
