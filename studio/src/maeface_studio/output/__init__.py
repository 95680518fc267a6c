"""Renders on disk: prepared folders, contact sheets and the layouts of other datasets."""
