"""What is possible at all, compiled: the masks of rule W2. They hold whatever a policy would like.

Privacy is a hard limit: `device` never leaves the asking device, `home` may reach the household's hub, only `any` may
reach a pool. Numbers here are positions: of privacy in `profiles.task.PRIVACY_CLASSES`, of places in the list below.
"""

from __future__ import annotations

from policies.compiled import kernel

__all__ = [
    "CLOUD_POOL",
    "EDGE_POOL",
    "HUB",
    "NEAR",
    "PRIVACY_ANY",
    "PRIVACY_DEVICE",
    "PRIVACY_HOME",
    "has_energy",
    "may_reach",
    "may_use_hub",
    "may_use_near",
    "may_use_pool",
    "understands",
]

PRIVACY_DEVICE, PRIVACY_HOME, PRIVACY_ANY = range(3)
NEAR, HUB, EDGE_POOL, CLOUD_POOL = range(4)


@kernel
def may_reach(privacy: int, place: int) -> bool:
    """Whether a request of this privacy may be computed at this place; unknown numbers are refused."""
    if privacy == PRIVACY_ANY:
        return NEAR <= place <= CLOUD_POOL
    if privacy == PRIVACY_HOME:
        return NEAR <= place <= HUB
    return privacy == PRIVACY_DEVICE and place == NEAR


@kernel
def understands(modalities: int, needed: int) -> bool:
    """Whether a target with these modality bits takes a request that needs those."""
    return (modalities & needed) == needed


@kernel
def has_energy(battery_j: float, floor_j: float, capacity_j: float, charging: bool) -> bool:
    """Whether a device may compute: on mains (capacity 0), on a charger, or with its battery above the floor (J)."""
    return capacity_j <= 0.0 or charging or battery_j > floor_j


@kernel
def may_use_near(
    model: int,
    modalities: int,
    needed: int,
    tokens: int,
    max_tokens: int,
    battery_j: float,
    floor_j: float,
    capacity_j: float,
    charging: bool,
) -> bool:
    """The asking device itself: `model` is -1 when it runs none, `tokens` counts prompt and answer."""
    return (
        model >= 0
        and understands(modalities, needed)
        and tokens <= max_tokens
        and has_energy(battery_j, floor_j, capacity_j, charging)
    )


@kernel
def may_use_hub(
    privacy: int,
    hub: int,
    at_home: bool,
    model: int,
    modalities: int,
    needed: int,
    tokens: int,
    max_tokens: int,
) -> bool:
    """The household's hub: `hub` is its row, -1 without one; `at_home` when the device is connected and reaches it."""
    return (
        hub >= 0
        and may_reach(privacy, HUB)
        and at_home
        and model >= 0
        and understands(modalities, needed)
        and tokens <= max_tokens
    )


@kernel
def may_use_pool(
    privacy: int,
    connected: bool,
    modalities: int,
    needed: int,
    tokens: int,
    max_model_len: int,
    blocks: int,
    kv_blocks: int,
    up: int,
    tried: bool,
) -> bool:
    """A pool of either tier: `blocks` of its `kv_blocks` hold the whole request, `up` replicas as last reported."""
    return (
        may_reach(privacy, CLOUD_POOL)
        and connected
        and understands(modalities, needed)
        and tokens <= max_model_len
        and blocks <= kv_blocks
        and up > 0
        and not tried
    )
