"""Stage `train`: the predictors, and reports on their quality."""
