"""Predictors and the bundle: fit, export, load, verify, register."""
