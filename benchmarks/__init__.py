"""Benchmarks: each prints one JSON record, so that two commits can be compared. Compare ratios of one machine."""
