"""What a trace is: schemas, atomic files, the published figures, workloads."""
