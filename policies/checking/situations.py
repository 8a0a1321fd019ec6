"""Moments of decision: who asks, what is possible, and adversarial ones made up by the thousand.

A situation holds every action of rule W1 with its figures, those that the masks rule out too: a policy that forgot a
mask would be tempted. The same seed makes the same situations. The plain ones are those of `policies.check`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

from policies import ActionView, DeviceView, RequestView
from policies.check import PLAIN
from policies.checking.ruled_out import HubFacts, NearFacts, PoolFacts, ruling_out
from policies.layout import Kind
from profiles import Catalogue
from profiles.task import PRIVACY_CLASSES

__all__ = ["Situation", "adversarial", "plain"]

_MOST_POOLS = 4
_CAPACITY_J = 60_000.0
_TEXT, _IMAGE, _AUDIO = 1, 2, 4
_EXTREME = 0.25  # share of situations whose figures are beyond any use
_NO_LIMIT = 0.3  # share without a limit on TTFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One decision. `actions` are in the order of rule W1; `ruled_out` names the masks of those that are impossible."""

    request: RequestView
    device: DeviceView
    actions: tuple[ActionView, ...]
    ruled_out: dict[int, tuple[str, ...]]
    """Index of an action to the masks that forbid it."""
    slo_ttft_s: float = math.inf

    def possible(self, kinds: frozenset[str] | None = None) -> list[ActionView]:
        """Actions that the masks allow, of these kinds."""
        allowed = (action for action in self.actions if action.index not in self.ruled_out)
        return [action for action in allowed if kinds is None or action.kind in kinds]


def plain() -> tuple[Situation, ...]:
    """The situations of `policies.check`: no mask forbids anything."""
    return tuple(Situation(request=r, device=d, actions=actions, ruled_out={}) for _, r, d, actions in PLAIN)


@lru_cache(maxsize=4)
def adversarial(count: int, seed: int = 0) -> tuple[Situation, ...]:
    """So many situations in which at least one action is possible: every mask, alone and with others, and figures from
    nothing to far beyond any use."""
    random = Random(seed)
    tasks = tuple(Catalogue().names("task"))
    found: list[Situation] = []
    while len(found) < count:
        one = _situation(random, len(found), tasks)
        if one.possible():
            found.append(one)
    return tuple(found)


# -- who asks, and what is possible ------------------------------------------------------------------------------------


def _situation(random: Random, number: int, tasks: tuple[str, ...]) -> Situation:
    extreme = random.random() < _EXTREME
    privacy = random.choice((*PRIVACY_CLASSES, "any"))
    needed = random.choice((_TEXT, _TEXT, _TEXT, _TEXT | _IMAGE, _TEXT | _AUDIO))
    prompt = int(2.0 ** random.uniform(0.0, 20.0))
    tokens = prompt + int(2.0 ** random.uniform(0.0, 13.0))
    battery = random.choice((0.0, 1.0, random.random()))
    network = random.choice(("offline", "wifi-home", "wifi-home", "lte", "lte", "5g-driving"))
    tiers: list[Literal["edge", "cloud"]] = [
        random.choice(("edge", "cloud")) for _ in range(random.randint(0, _MOST_POOLS))
    ]
    near = ruling_out(_near(random, needed, tokens, battery))
    hub = ruling_out(_hub(random, needed, tokens, PRIVACY_CLASSES.index(privacy), network == "wifi-home"))
    pools = [
        ruling_out(_pool(random, needed, tokens, PRIVACY_CLASSES.index(privacy), network != "offline")) for _ in tiers
    ]
    both = [tuple(dict.fromkeys(near + pool)) for pool in pools]
    kinds: list[Kind] = ["near", "edge", *tiers]
    composites: tuple[Kind, Kind] = ("cascade", "hedge")
    for composite in composites:
        kinds += [composite for _ in tiers]
    names = [None, None, *(3 * [f"pool-{p}" for p in range(len(tiers))])]
    masks = [near, hub, *pools, *both, *both]
    return Situation(
        request=RequestView(
            id=number,
            now_s=random.uniform(0.0, 1e6),
            arrival_s=0.0,
            prompt_tokens=prompt,
            attempt=0,
            task=random.choice(tasks),
            difficulty=random.gauss(0.0, 100.0 if extreme else 1.5),
            privacy=privacy,
        ),
        device=DeviceView(
            id=random.randrange(10**6),
            kind=random.choice(("phones", "watches", "cars")),
            battery=battery,
            heat=random.uniform(-0.5, 1.5),
            network=network,
            metered=network in ("lte", "5g-driving"),
        ),
        actions=tuple(
            _action(random, index, kind, name, extreme)
            for index, (kind, name) in enumerate(zip(kinds, names, strict=True))
        ),
        ruled_out={index: found for index, found in enumerate(masks) if found},
        slo_ttft_s=math.inf if random.random() < _NO_LIMIT else 10.0 ** random.uniform(-2.0, 2.0),
    )


def _near(random: Random, needed: int, tokens: int, battery: float) -> NearFacts:
    return NearFacts(
        model=random.choice((-1, 0, 0, 0)),
        modalities=_modalities(random),
        needed=needed,
        tokens=tokens,
        max_tokens=_room(random, tokens),
        battery_j=battery * _CAPACITY_J,
        floor_j=random.choice((0.0, 0.2)) * _CAPACITY_J,
        capacity_j=random.choice((0.0, _CAPACITY_J, _CAPACITY_J)),
        charging=random.random() < 0.2,
    )


def _hub(random: Random, needed: int, tokens: int, privacy: int, at_home: bool) -> HubFacts:
    return HubFacts(
        privacy=privacy,
        hub=random.choice((-1, 7)),
        at_home=at_home,
        model=random.choice((-1, 0, 0, 0)),
        modalities=_modalities(random),
        needed=needed,
        tokens=tokens,
        max_tokens=_room(random, tokens),
    )


def _pool(random: Random, needed: int, tokens: int, privacy: int, connected: bool) -> PoolFacts:
    blocks = -(-tokens // 16)
    return PoolFacts(
        privacy=privacy,
        connected=connected,
        modalities=_modalities(random),
        needed=needed,
        tokens=tokens,
        max_model_len=_room(random, tokens),
        blocks=blocks,
        kv_blocks=_room(random, blocks),
        up=random.choice((0, 1, 8, 8, 8)),
        tried=random.random() < 0.1,
    )


def _modalities(random: Random) -> int:
    return random.choice((_TEXT, _TEXT | _IMAGE, *(3 * [_TEXT | _IMAGE | _AUDIO])))


def _room(random: Random, needed: int) -> int:
    """Too small by one, just enough, or plenty."""
    return random.choice((needed - 1, needed, *(5 * [2**21])))


# -- what is predicted -------------------------------------------------------------------------------------------------


def _action(random: Random, index: int, kind: Kind, pool: str | None, extreme: bool) -> ActionView:
    """Figures of an action, impossible or not. Sound, or from nothing to endless."""
    ttft_s = _figure(random, -2.0, 2.0, extreme)
    is_far = pool is not None
    return ActionView(
        index=index,
        kind=kind,
        pool=pool,
        quality=random.choice((0.0, 1.0)) if extreme else random.random(),
        ttft_s=ttft_s,
        e2e_s=ttft_s + _figure(random, -1.0, 3.0, extreme),
        energy_j=min(_figure(random, -1.0, 4.0, extreme), 1e9),
        cost_usd=min(_figure(random, -6.0, 0.0, extreme), 1e6) if is_far else 0.0,
        egress_bytes=min(_figure(random, 2.0, 8.0, extreme), 1e12) if is_far else 0.0,
        load=min(_figure(random, -2.0, 2.0, extreme), 1e9),
        noise=random.random(),
    )


def _figure(random: Random, low: float, high: float, extreme: bool) -> float:
    """A magnitude between 10^low and 10^high; an extreme one is 0, tiny, huge or endless."""
    if extreme:
        return random.choice((0.0, 1e-300, 1e15, math.inf, 10.0**high))
    return float(10.0 ** random.uniform(low, high))
