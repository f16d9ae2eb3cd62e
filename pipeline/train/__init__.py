"""Stage `train`: predictors and what is said of them; `make study` and `make search` look further."""
