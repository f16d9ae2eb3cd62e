"""Several decode steps as one step of vLLM, where that changes no turn."""
