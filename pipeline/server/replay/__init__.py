"""A workload run against a live OpenAI server, open-loop, and measured as the simulator measures."""
