"""Clips of the cast as other datasets lay out their files, under those datasets' own names."""
