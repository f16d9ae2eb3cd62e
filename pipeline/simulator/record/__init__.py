"""What a simulation yields: records of turns, metrics, traces and timelines."""
