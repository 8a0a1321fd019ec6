"""A policy that explores: with a known small chance it takes any possible action instead of the one it thinks best.

Without that a log can only repeat what the policy did. The chance of every choice is known exactly, and it is what
off-policy estimates need. Exploration never leaves the masks: it draws among the feasible actions alone.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES
from profiles.errors import UserError

__all__ = ["Choice", "check_share", "draw", "explore", "linear_scores", "win_chances"]

NOISE = FEATURE_NAMES.index("noise")
_CELLS = 4_000_000  # numbers that `win_chances` holds at once


class Choice(NamedTuple):
    """An action, and the chance with which it was taken."""

    action: int
    propensity: float


def check_share(name: str, share: float) -> float:
    """A share in [0, 1]. Raises `UserError`."""
    if not 0.0 <= share <= 1.0:
        raise UserError(f"{name} must be a share of the decisions", got=share, allowed="0 to 1, as in 0.1")
    return float(share)


def draw(seed: int, request_id: str, attempt: int) -> tuple[float, float]:
    """Two uniform numbers in [0, 1) that belong to a decision: the same in every run with this seed."""
    digest = hashlib.blake2b(f"{seed}/{request_id}/{attempt}".encode(), digest_size=16).digest()
    return (int.from_bytes(digest[:7], "big") / 2.0**56, int.from_bytes(digest[8:15], "big") / 2.0**56)


def explore(
    chances: NDArray[np.float64], favourite: int, feasible: NDArray[np.bool_], share: float, draws: tuple[float, float]
) -> Choice:
    """The favourite or, in a `share` of the decisions, any feasible action, all alike.

    `chances` (A,) are those with which the policy itself takes each action (1 for its favourite unless it draws
    chance of its own); the propensity is (1 − share) × that + share / feasible actions.
    """
    possible = np.flatnonzero(feasible)
    chosen = favourite
    if draws[0] < share:
        chosen = int(possible[int(draws[1] * len(possible))])
    return Choice(chosen, float((1.0 - share) * chances[chosen] + share / len(possible)))


def linear_scores(
    phi: NDArray[np.float64], weights: NDArray[np.float64], scene: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scores of actions (m, features), added in the order of the layout as the compiled scorer does; scene (m,)."""
    total = np.zeros(len(phi))
    for i, weight in enumerate(weights):
        total += weight * phi[:, i]
    return total + scene


def win_chances(scores: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Chance of each action to have the largest score, when each gets uniform noise on [0, width) added.

    `scores` is (n, A), −inf for what is not possible; the result has its shape, and rows of zeros where nothing is.
    Exact: between the ends of the noises the product of their distribution functions is a polynomial, which the
    quadrature integrates without error. With width 0 the first of the largest gets it all.
    """
    n, actions = scores.shape
    if width == 0.0:
        chances = np.zeros(scores.shape)
        best = scores.argmax(axis=1)
        some = np.isfinite(scores).any(axis=1)
        chances[np.flatnonzero(some), best[some]] = 1.0
        return chances
    rows = max(1, _CELLS // (2 * actions * actions * actions))
    return np.concatenate([_win_chances(scores[k : k + rows], abs(width)) for k in range(0, max(n, 1), rows)])


def _win_chances(scores: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    actions = scores.shape[1]
    possible = np.isfinite(scores)
    most = np.where(possible, scores, -np.inf).max(axis=1, initial=-np.inf)
    most = np.where(np.isfinite(most), most, 0.0)
    at = np.where(possible, (scores - most[:, None]) / width, -3.0)  # what cannot win lies below -1 anyway
    nodes, shares = np.polynomial.legendre.leggauss(actions // 2 + 1)
    ends = np.sort(np.concatenate([at, at + 1.0], axis=1), axis=1)
    left, length = ends[:, :-1], np.diff(ends, axis=1)
    t = left[:, :, None] + length[:, :, None] * (nodes + 1.0) / 2.0  # (n, pieces, nodes)
    below = np.clip(t[:, :, :, None] - at[:, None, None, :], 0.0, 1.0)
    chances = np.zeros(scores.shape)
    for a in range(actions):
        others = np.prod(np.delete(below, a, axis=3), axis=3)
        inside = (t > at[:, a, None, None]) & (t < at[:, a, None, None] + 1.0)
        chances[:, a] = ((others * inside) @ (shares / 2.0) * length).sum(axis=1)
    chances[~possible] = 0.0
    return chances
