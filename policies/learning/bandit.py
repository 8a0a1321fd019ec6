"""An online bandit: it learns the utility of actions while it routes, and explores within a bound that it keeps.

It starts from what is predicted: the utility of the predicted figures. What it learns is how far from that the rewards
lie, by a Bayesian linear regression on φ (scaled) and on the kind of action by task, in which old rewards may fade.

- The *favourite* is the feasible action with the best expected utility; until enough rewards have come in, the choice
  of the policy that it started from.
- Of all decisions at most a share `explore` deviates from the favourite, always, not on average: when the budget is
  spent, nothing is explored until it has grown again.
- What is explored: half the time the favourite of a draw from the posterior (Thompson) or the largest upper bound
  (LinUCB), half the time any feasible action. The draw is made when the model is updated, not at the decision, so that
  the chance of every choice is known exactly.

Rewards may come late, in any order. Nothing here knows a simulator or a daemon.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS, LAYOUT_VERSION
from policies.learning.exploring import NOISE, Choice, check_share
from policies.learning.scales import APART
from policies.learning.utility import Utility
from policies.policy import DEFAULT_SCENE, Policy, load_policy
from profiles.errors import UserError

__all__ = ["Bandit", "BanditSettings", "predicted_utility"]

UNIFORM_PART = 0.5  # of what is explored
_DRAWN_PART = 0.9  # chance of exploring / bound: the budget is then rarely spent
_LARGEST = 3.0  # scaled features are cut there: one odd request must not turn the model


@dataclass(frozen=True, slots=True, kw_only=True)
class BanditSettings:
    """How it learns and explores."""

    method: Literal["thompson", "linucb"] = "thompson"
    explore: float = 0.1
    """Largest share of decisions that deviate from the favourite."""
    warm_up: int = 200
    """Rewards before it trusts itself rather than the policy that it started from."""
    width: float = 1.0
    """Standard deviations: of the draws, or of the upper bound."""
    memory: float = 1.0
    """What a reward still counts after the next one: 1 forgets nothing, 0.999 about a thousand rewards back."""
    ridge: float = 10.0
    """Rewards that would say that nothing differs from its prediction."""
    update_every: int = 25
    """Rewards between two updates of the model."""


def predicted_utility(utility: Utility) -> NDArray[np.float64]:
    """Weights (features,) by which φ gives the utility of the predicted figures."""
    return np.array([utility.weight(name) for name in FEATURE_NAMES], np.float64)


class Bandit:
    """`choose` and `learn`. `prior` are weights of φ that rewards are expected to follow before any has come in."""

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        settings: BanditSettings | None = None,
        prior: NDArray[np.float64] | None = None,
        seed: int = 0,
    ) -> None:
        self.tasks = tuple(tasks)
        self.settings = settings or BanditSettings()
        _check(self.settings)
        self.prior = np.zeros(len(FEATURE_NAMES)) if prior is None else np.asarray(prior, np.float64)
        self.decisions = self.deviations = self.rewards = 0
        self._seed = seed
        self._task = {task: t for t, task in enumerate(self.tasks)}
        self._scale = np.array([APART.get(name, 1.0) for name in FEATURE_NAMES])
        self._used = np.array([i != NOISE for i in range(len(FEATURE_NAMES))])
        size = len(FEATURE_NAMES) + len(KINDS) * len(self.tasks)
        self._square = np.zeros((size, size))
        self._sum = np.zeros(size)
        self._error, self._weight = 0.0, 0.0
        self._updates, self._waiting = 0, 0
        self._update()

    # -- deciding ------------------------------------------------------------------------------------------------------

    def choose(
        self,
        phi: NDArray[np.float64],
        kinds: NDArray[np.int8],
        task: str,
        feasible: NDArray[np.bool_],
        u: float,
        *,
        start: int | None = None,
    ) -> Choice:
        """An action and its exact propensity, from φ (A, features), positions in KINDS (A,) and `u` uniform in [0, 1).

        `start` is the choice of the policy that it started from. Raises `UserError` when nothing is feasible.
        """
        possible = np.flatnonzero(feasible)
        if len(possible) == 0:
            raise UserError("no action is feasible", next_step="fail the request: nothing can answer it")
        x = self._features(phi, kinds, task)
        expected = np.where(feasible, phi @ self.prior + x @ self._mean, -np.inf)
        trusts = self.rewards >= self.settings.warm_up or start is None
        favourite = int(expected.argmax()) if trusts or start is None else start
        bold = int(np.where(feasible, self._bold(phi, x), -np.inf).argmax())
        share = self._share()
        chances = np.zeros(len(phi))
        chances[favourite] = 1.0 - share
        chances[bold] += share * (1.0 - UNIFORM_PART)
        chances[possible] += share * UNIFORM_PART / len(possible)
        action = self._pick(favourite, bold, possible, share, u)
        self.decisions += 1
        self.deviations += action != favourite
        return Choice(action, float(chances[action]))

    def _share(self) -> float:
        """The chance of exploring now: none when one more deviation would break the bound."""
        bound = self.settings.explore
        return _DRAWN_PART * bound if self.deviations + 1 <= bound * (self.decisions + 1) else 0.0

    @staticmethod
    def _pick(favourite: int, bold: int, possible: NDArray[np.intp], share: float, u: float) -> int:
        """[0, share) of u is exploring: first the part of any action, then that of the bold one."""
        if u >= share:
            return favourite
        any_action = share * UNIFORM_PART
        if u < any_action:
            return int(possible[min(int(u / any_action * len(possible)), len(possible) - 1)])
        return bold

    def _bold(self, phi: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.settings.method == "thompson":
            return np.asarray(phi @ self.prior + x @ self._drawn)
        spread = np.sqrt(np.einsum("ai,ij,aj->a", x, self._covariance, x))
        return np.asarray(phi @ self.prior + x @ self._mean + self.settings.width * spread)

    # -- learning ------------------------------------------------------------------------------------------------------

    def learn(self, phi_row: NDArray[np.float64], kind: int, task: str, reward: float) -> None:
        """The reward of an action that was taken: its features (features,), kind and task. Any time later."""
        if not math.isfinite(reward):
            raise UserError("a reward must be a finite number", got=reward)
        x = self._features(phi_row[None, :], np.array([kind], np.int8), task)[0]
        rest = reward - float(phi_row @ self.prior)
        memory = self.settings.memory
        if memory < 1.0:
            self._square *= memory
            self._sum *= memory
        self._error = memory * self._error + (rest - float(x @ self._mean)) ** 2
        self._weight = memory * self._weight + 1.0
        self._square += np.outer(x, x)
        self._sum += rest * x
        self.rewards += 1
        self._waiting += 1
        if self._waiting >= self.settings.update_every:
            self._update()

    def _update(self) -> None:
        """The posterior, and the draw that is explored until the next update."""
        size = len(self._sum)
        precision = self._square + self.settings.ridge * np.eye(size)
        root = np.linalg.cholesky(precision)
        self._mean = np.linalg.solve(precision, self._sum)
        noise = math.sqrt(self._error / self._weight) if self._weight > 0.0 else 1.0
        if self.settings.method == "linucb":
            self._covariance = np.linalg.inv(precision) * noise**2
        draw = np.random.default_rng((self._seed, self._updates)).standard_normal(size)
        self._drawn = self._mean + self.settings.width * noise * np.linalg.solve(root.T, draw)
        self._known = self._digest()
        self._updates += 1
        self._waiting = 0

    def _digest(self) -> bytes:
        """Of all that its choices depend on but its start and its budget."""
        settings = [getattr(self.settings, name) for name in BanditSettings.__slots__]
        digest = hashlib.sha256(repr((LAYOUT_VERSION, self.tasks, settings, self._seed)).encode())
        for part in (self.prior, self._sum, self._square):
            digest.update(part.tobytes())
        return digest.digest()

    def version(self, start: str) -> str:
        """`0123456789ab+7`: stands for what it is after so many updates, begun with the policy of this version."""
        trusts = bytes([self.rewards >= self.settings.warm_up])
        return f"{hashlib.sha256(start.encode() + trusts + self._known).hexdigest()[:12]}+{self._updates - 1}"

    def _features(self, phi: NDArray[np.float64], kinds: NDArray[np.int8], task: str) -> NDArray[np.float64]:
        """(A, size): φ without noise, scaled, and where the action stands among kinds by task."""
        if task not in self._task:
            raise UserError("the bandit does not know this task", got=task, allowed=", ".join(self.tasks))
        base = len(FEATURE_NAMES)
        x = np.zeros((len(phi), len(self._sum)))
        x[:, :base] = np.clip(phi / self._scale, -_LARGEST, _LARGEST) * self._used
        x[np.arange(len(phi)), base + self._task[task] * len(KINDS) + kinds] = 1.0
        return x

    # -- what it has learned -------------------------------------------------------------------------------------------

    def policy(self, *, name: str, actions: Sequence[str]) -> Policy:
        """The favourites as a policy file. (It has no cut at very large features, as the bandit has.)"""
        base = len(FEATURE_NAMES)
        weights = self.prior + self._mean[:base] / self._scale * self._used
        cells = self._mean[base:].reshape(len(self.tasks), len(KINDS))
        used = [k for k, kind in enumerate(KINDS) if kind in actions]
        scenes = {task: {KINDS[k]: float(cells[t, k]) for k in used} for t, task in enumerate(self.tasks)}
        scenes[DEFAULT_SCENE] = {KINDS[k]: float(cells[:, k].mean()) for k in used}
        listed = {
            n: float(w) for n, w in zip(FEATURE_NAMES, weights, strict=True) if w and (n not in KINDS or n in actions)
        }
        return load_policy(
            {
                "name": name,
                "description": "what a bandit learned while it routed",
                "layout": LAYOUT_VERSION,
                "actions": list(actions),
                "weights": listed,
                "scenes": scenes,
            }
        )

    def state(self) -> dict[str, Any]:
        """Everything that it knows, as JSON can hold it. What has come in is learned first, so that this bandit and one
        that is made from the state go on alike."""
        if self._waiting:
            self._update()
        settings = {name: getattr(self.settings, name) for name in BanditSettings.__slots__}
        return {
            "layout": LAYOUT_VERSION,
            "tasks": list(self.tasks),
            "settings": settings,
            "seed": self._seed,
            "prior": self.prior.tolist(),
            "counts": [self.decisions, self.deviations, self.rewards, self._updates - 1],
            "error": [self._error, self._weight],
            "square": self._square[np.triu_indices(len(self._sum))].tolist(),
            "sum": self._sum.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Bandit:
        """The bandit that `state` described. Raises `UserError` for what is none, or of another layout."""
        if state.get("layout") != LAYOUT_VERSION:
            found = state.get("layout")
            raise UserError("the bandit's state is of another layout", got=found, allowed=str(LAYOUT_VERSION))
        try:
            made = cls(
                state["tasks"],
                settings=BanditSettings(**state["settings"]),
                prior=np.array(state["prior"], np.float64),
                seed=state["seed"],
            )
            upper = np.triu_indices(len(made._sum))
            made._square[upper] = state["square"]
            made._square.T[upper] = state["square"]
            made._sum[:] = state["sum"]
            made.decisions, made.deviations, made.rewards, made._updates = state["counts"]
            made._error, made._weight = state["error"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is no state of a bandit: {error}") from None
        made._update()
        return made


def _check(settings: BanditSettings) -> None:
    check_share("explore", settings.explore)
    if settings.method not in ("thompson", "linucb"):
        raise UserError("unknown bandit", got=settings.method, allowed="thompson, linucb")
    if not 0.0 < settings.memory <= 1.0:
        raise UserError("memory is out of range", got=settings.memory, allowed="above 0, at most 1")
    if not settings.ridge > 0.0 or not settings.width >= 0.0 or settings.update_every < 1 or settings.warm_up < 0:
        raise UserError("a setting of the bandit is out of range", got=settings)
