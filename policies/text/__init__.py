"""What a prompt tells about the answer: correctness learned from text."""
