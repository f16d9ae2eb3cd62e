"""Versions of a scheduler in MLflow: registering, promoting, fetching."""
