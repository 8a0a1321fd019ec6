"""A policy of one's own: it sees what a router could know, and returns the id of a replica that is up."""

from typing import Any


def by_length(request: Any, replicas: list[Any]) -> int:
    """Long prompts to the first half, short ones to the second; within a half to the least loaded."""
    up = [replica for replica in replicas if replica.up]
    half = (len(up) + 1) // 2
    group = up[:half] if request.prompt_tokens > 1000 or len(up) == 1 else up[half:]
    chosen: int = min(group, key=lambda replica: replica.outstanding).id
    return chosen
