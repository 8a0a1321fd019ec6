"""What would happen: the latency model, the data plane, the world around it, and their results."""
