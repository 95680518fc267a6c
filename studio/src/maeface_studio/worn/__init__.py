"""Clothes, glasses, hats and occluders as meshes."""
