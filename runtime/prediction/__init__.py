"""Forecasts of the turns that arrive, corrected by what came of earlier ones."""
