"""Sessions to run, their arrivals, and the built-in workloads."""
