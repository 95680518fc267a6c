"""The 3D head: its shapes, its surface and its skull."""
