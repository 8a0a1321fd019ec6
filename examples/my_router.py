"""A routing policy of one's own: it sees what is predicted of every possible action, and returns the index of one."""

from typing import Any


def good_enough(request: Any, device: Any, actions: list[Any]) -> int:
    """On the device where that is soon and probably right, and the battery is not low; else the cheapest good one."""
    good = [action for action in actions if action.quality >= 0.7] or actions
    near = [action for action in good if action.kind == "near"]
    if near and device.battery > 0.3 and near[0].ttft_s < 2.0:
        best = near[0]
    else:
        best = min(good, key=lambda action: (action.cost_usd, action.e2e_s))
    chosen: int = best.index
    return chosen
