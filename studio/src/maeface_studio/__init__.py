"""The workshop of maeface: renders labelled faces, and makes what maeface ships."""
