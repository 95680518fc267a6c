"""Experiments of the paper: their settings, their trainings, their reports, and the paper's figures."""
