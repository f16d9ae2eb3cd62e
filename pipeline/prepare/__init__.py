"""Stage `prepare`: from traces to training tables."""
