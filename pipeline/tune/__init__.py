"""Stage `tune` and `make tune-long`: the scheduler's settings, searched on the simulator."""
