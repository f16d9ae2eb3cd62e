"""`make fidelity` and `make live`: the simulator, and AugServe, held against the real server on this machine."""
