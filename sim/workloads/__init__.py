"""Who asks, when, and for how much: traces and generators, both ending in a `Workload` of plain arrays."""
