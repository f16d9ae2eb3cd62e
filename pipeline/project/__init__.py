"""What all stages share of the project: parameters, sources of traces, tracking, and how a stage fails."""
