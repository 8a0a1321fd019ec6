"""Holding the latency model against published measurements: fits, predictions, errors."""
