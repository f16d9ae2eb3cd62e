"""Stage `evaluate`: policies compared on the simulator. `make compare` does the same at length."""
