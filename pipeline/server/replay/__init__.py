"""Replays a workload against a live OpenAI server in an open loop, with the metrics of the simulator."""
