"""Benchmarks: `make bench` writes their figures to reports/bench/. Not stages, not tests."""
