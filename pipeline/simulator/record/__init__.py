"""What a simulation leaves: records, metrics, traces and timelines."""
