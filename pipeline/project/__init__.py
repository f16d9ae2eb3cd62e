"""The project around the stages: parameters, paths, sources of traces, tracking, and errors of a stage."""
