"""What is run: sessions, their arrivals, and the built-in workloads."""
