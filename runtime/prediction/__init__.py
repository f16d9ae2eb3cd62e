"""Forecasts of arriving turns, corrected by the outcomes of earlier ones."""
