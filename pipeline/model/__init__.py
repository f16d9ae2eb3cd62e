"""Stage `model`: the small chat model that a server here runs."""
