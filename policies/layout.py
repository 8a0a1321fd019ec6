"""The layout of φ: what a policy may look at, in a fixed order with a version.

    score[action] = sum over i of weight_i x φ_i(request, device, network, action)  +  scene[task][kind of the action]

A policy file names features; it never knows a pool by name, so that one policy fits any fleet. A file of another
version is refused: a weight must not come to mean something else.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["FEATURES", "FEATURE_NAMES", "KINDS", "LAYOUT_VERSION", "Feature", "Kind"]

LAYOUT_VERSION = 1

Kind = Literal["near", "edge", "cloud", "cascade", "hedge"]
KINDS: tuple[Kind, ...] = ("near", "edge", "cloud", "cascade", "hedge")
"""Kinds of actions, by number: on the asking device; on a hub or a pool of tier edge; in a cloud pool; near first and
far when in doubt; near and far at once."""


class Feature(NamedTuple):
    """One number of φ."""

    name: str
    unit: str
    meaning: str


FEATURES: tuple[Feature, ...] = (
    Feature("near", "", "1 when the action is of kind near"),
    Feature("edge", "", "1 when it is of kind edge"),
    Feature("cloud", "", "1 when it is of kind cloud"),
    Feature("cascade", "", "1 when it is of kind cascade"),
    Feature("hedge", "", "1 when it is of kind hedge"),
    Feature("quality", "", "predicted chance of a right answer"),
    Feature("ttft_s", "s", "predicted time to first token, at most 600"),
    Feature("e2e_s", "s", "predicted time to the last token, at most 3600"),
    Feature("ttft_over_slo", "", "predicted TTFT by the task's TTFT limit, at most 10; 0 without a limit"),
    Feature("energy_j", "J", "predicted energy of the device"),
    Feature("cost_usd", "USD", "predicted cost in the cloud"),
    Feature("egress_mb", "MB", "1e6 bytes that leave the user's own machines"),
    Feature("load", "", "jobs on the device or hub; requests per slot of a pool, as last reported"),
    Feature("noise", "", "uniform in [0, 1), drawn for the request and the action"),
    Feature("near_difficulty", "", "near x estimated difficulty (logits)"),
    Feature("near_log_prompt", "", "near x log2(1 + prompt tokens)"),
    Feature("near_battery", "", "near x battery share, 1 on mains"),
    Feature("near_heat", "", "near x heat: 0 at ambient temperature, 1 where the clock is lowered"),
    Feature("metered_mb", "MB", "egress_mb where the user pays by volume"),
    Feature("scarce_energy_j", "J", "energy_j x (1 - battery share)"),
)

FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
