"""Tuning policies against the simulated queues, and judging them on seeds they never saw."""
