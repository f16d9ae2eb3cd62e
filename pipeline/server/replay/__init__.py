"""Replays a workload against a live OpenAI server, in an open or a closed loop, with the metrics of the simulator."""
