"""Predict action units of images: the predictor, its table, and stored crops."""
