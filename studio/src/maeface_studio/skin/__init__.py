"""Skin, eyes and wrinkles as textures over the head."""
