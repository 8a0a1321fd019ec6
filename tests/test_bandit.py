"""The bandit: it finds the best action, keeps its bound and the masks, and the chances that it states are true."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES
from policies.learning.bandit import Bandit, BanditSettings, predicted_utility
from policies.learning.behaviour import Behaviour
from policies.learning.exploring import draw, explore
from policies.learning.utility import parse_utility
from policies.policy import load_policy
from profiles.errors import UserError

TASKS = ("chat", "code")
KINDS = np.array([0, 1, 2], np.int8)
OPEN = np.ones(3, np.bool_)
QUALITY, E2E = FEATURE_NAMES.index("quality"), FEATURE_NAMES.index("e2e_s")
Method = Literal["thompson", "linucb"]


def situation(draws: np.random.Generator) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """A task, φ (3, features), and the true mean rewards: not what quality foretells, and worse near for code."""
    phi = np.zeros((3, len(FEATURE_NAMES)))
    phi[np.arange(3), KINDS] = 1.0
    phi[:, QUALITY] = draws.uniform(0.4, 0.9, 3)
    phi[:, E2E] = draws.exponential(5.0, 3)
    task = TASKS[int(draws.integers(2))]
    mean = 0.5 * phi[:, QUALITY] - 0.03 * phi[:, E2E] + np.array([0.3, 0.0, -0.2])
    if task == "code":
        mean = mean - np.array([0.5, 0.0, 0.0])
    return task, phi, mean


class Played:
    """What a bandit earned, decision by decision, beside the best that there was."""

    def __init__(
        self, bandit: Bandit, n: int, seed: int, *, delay: int = 50, start: int | None = 2, turn_at: int | None = None
    ) -> None:
        draws = np.random.default_rng(seed)
        waiting: list[tuple[NDArray[np.float64], int, str, float]] = []
        self.regret = np.zeros(n)
        self.share = np.zeros(n)
        for i in range(n):
            task, phi, mean = situation(draws)
            if turn_at is not None and i >= turn_at:
                mean = -mean
            choice = bandit.choose(phi, KINDS, task, OPEN, float(draws.random()), start=start)
            self.regret[i] = mean.max() - mean[choice.action]
            self.share[i] = bandit.deviations / bandit.decisions
            reward = float(mean[choice.action] + draws.normal(0.0, 0.3))
            waiting.append((phi[choice.action], int(KINDS[choice.action]), task, reward))
            if len(waiting) > delay:
                bandit.learn(*waiting.pop(int(draws.integers(len(waiting)))))


def settings(**changes: Any) -> BanditSettings:
    return BanditSettings(**{"explore": 0.1, "warm_up": 100, "ridge": 1.0, **changes})


@pytest.mark.parametrize("method", ["thompson", "linucb"])
def test_it_approaches_the_best_action(method: Method) -> None:
    played = Played(Bandit(TASKS, settings=settings(method=method), seed=1), 3000, seed=2)
    begun, end = played.regret[:100].mean(), played.regret[-1000:].mean()
    assert begun > 0.3  # the start always takes the worst kind
    assert end < 0.12 * begun
    exploring = played.regret[-1000:][played.regret[-1000:] > 0].size / 1000
    assert exploring < 0.25


@pytest.mark.parametrize("bound", [0.02, 0.1, 0.3])
def test_it_never_deviates_more_than_its_bound(bound: float) -> None:
    bandit = Bandit(TASKS, settings=settings(explore=bound), seed=3)
    played = Played(bandit, 1500, seed=4)
    assert played.share.max() <= bound
    assert played.share[-1] > 0.2 * bound


def test_without_exploring_it_follows_its_favourite_with_certainty() -> None:
    bandit = Bandit(TASKS, settings=settings(explore=0.0), prior=predicted_utility(parse_utility("quality=1")))
    task, phi, _ = situation(np.random.default_rng(5))
    for u in (0.0, 0.5, 0.999):
        assert bandit.choose(phi, KINDS, task, OPEN, u) == (int(phi[:, QUALITY].argmax()), 1.0)


def test_the_chances_that_it_states_are_those_that_one_counts() -> None:
    bandit = Bandit(TASKS, settings=settings(explore=0.5), seed=6)
    Played(bandit, 400, seed=7)
    task, phi, _ = situation(np.random.default_rng(8))
    state = bandit.state()
    state["counts"][:2] = [1_000_000, 0]  # budget for all of it
    bandit = Bandit.from_state(state)
    n = 5_000
    choices = [bandit.choose(phi, KINDS, task, OPEN, (k + 0.5) / n) for k in range(n)]
    counted = Counter(choice.action for choice in choices)
    stated = {choice.action: choice.propensity for choice in choices}
    assert set(counted) == {0, 1, 2}
    for action, count in counted.items():
        assert count / n == pytest.approx(stated[action], abs=2 / n)
    assert sum(stated.values()) == pytest.approx(1.0)


def test_masks_hold_whatever_it_has_learned() -> None:
    bandit = Bandit(TASKS, settings=settings(explore=0.5, warm_up=0), seed=9)
    draws = np.random.default_rng(10)
    for _ in range(600):
        task, phi, mean = situation(draws)
        feasible = draws.random(3) < 0.5
        if not feasible.any():
            continue
        choice = bandit.choose(phi, KINDS, task, feasible, float(draws.random()))
        assert feasible[choice.action]
        assert 0.0 < choice.propensity <= 1.0
        bandit.learn(phi[choice.action], int(KINDS[choice.action]), task, float(mean[choice.action]))
    with pytest.raises(UserError, match="feasible"):
        bandit.choose(phi, KINDS, task, np.zeros(3, np.bool_), 0.5)


def test_it_starts_with_the_policy_that_it_started_from() -> None:
    bandit = Bandit(TASKS, settings=settings(explore=0.0, warm_up=30))
    task, phi, _ = situation(np.random.default_rng(11))
    for _ in range(30):
        assert bandit.choose(phi, KINDS, task, OPEN, 0.5, start=1).action == 1
        bandit.learn(phi[0], 0, task, 5.0)
    assert bandit.choose(phi, KINDS, task, OPEN, 0.5, start=1).action == 0


def test_forgetting_follows_a_world_that_turns() -> None:
    def after_the_turn(memory: float) -> float:
        bandit = Bandit(TASKS, settings=settings(explore=0.2, memory=memory), seed=12)
        return float(Played(bandit, 3000, seed=13, turn_at=1800).regret[-300:].mean())

    assert after_the_turn(0.99) < 0.5 * after_the_turn(1.0)


@pytest.mark.parametrize("method", ["thompson", "linucb"])
def test_a_bandit_from_a_saved_state_goes_on_alike(method: Method) -> None:
    one = Bandit(TASKS, settings=settings(method=method, explore=0.3, memory=0.999), seed=14)
    Played(one, 333, seed=15)
    other = Bandit.from_state(json.loads(json.dumps(one.state())))
    first, second = Played(one, 400, seed=16), Played(other, 400, seed=16)
    assert np.array_equal(first.regret, second.regret)
    assert one.state() == other.state()


def test_a_version_stands_for_what_it_is_and_what_it_has_learned() -> None:
    def version(n: int, *, start: str = "near", seed: int = 1, world: int = 2, **changes: Any) -> str:
        bandit = Bandit(TASKS, settings=settings(**changes), seed=seed)
        Played(bandit, n, seed=world, delay=0)
        return bandit.version(start)

    assert version(60) == version(60) == version(74)
    assert version(60).endswith("+2")
    others = [
        version(0), version(76), version(60, start="far"), version(60, seed=2), version(60, world=3),
        version(60, explore=0.2), version(60, warm_up=10),
    ]  # fmt: skip
    assert len({version(60), *others}) == 8


def test_a_version_changes_when_it_begins_to_trust_itself() -> None:
    bandit = Bandit(TASKS, settings=settings(warm_up=10))
    row, before = np.zeros(len(FEATURE_NAMES)), bandit.version("near")
    for _ in range(10):
        assert bandit.version("near") == before
        bandit.learn(row, 0, "chat", 1.0)
    assert bandit.version("near") != before
    assert Bandit.from_state(bandit.state()).version("near") == bandit.version("near")


def test_one_odd_request_does_not_turn_the_model() -> None:
    one, other = (Bandit(TASKS, settings=settings(warm_up=0, explore=0.0)) for _ in range(2))
    Played(one, 1000, seed=19)
    Played(other, 1000, seed=19)
    odd = np.zeros(len(FEATURE_NAMES))
    odd[E2E] = 3600.0
    for _ in range(25):
        other.learn(odd if _ == 0 else np.zeros(len(FEATURE_NAMES)), 0, "chat", 0.0)
        one.learn(np.zeros(len(FEATURE_NAMES)), 0, "chat", 0.0)
    draws = np.random.default_rng(20)
    same = 0
    for _ in range(200):
        task, phi, _mean = situation(draws)
        same += one.choose(phi, KINDS, task, OPEN, 0.5).action == other.choose(phi, KINDS, task, OPEN, 0.5).action
    assert same >= 190


def test_what_it_learned_is_a_policy_with_the_same_favourites() -> None:
    bandit = Bandit(TASKS, settings=settings(), prior=predicted_utility(parse_utility("quality=1,e2e_s=-0.02")), seed=1)
    Played(bandit, 1000, seed=17)
    policy = bandit.policy(name="learned", actions=("near", "edge", "cloud"))
    behaviour = Behaviour(policy.table(TASKS))
    bandit = Bandit.from_state(bandit.state() | {"settings": {**bandit.state()["settings"], "explore": 0.0}})
    draws = np.random.default_rng(18)
    for _ in range(200):
        task, phi, _ = situation(draws)
        favourite = behaviour.scored(phi, KINDS, TASKS.index(task), OPEN).favourite
        assert bandit.choose(phi, KINDS, task, OPEN, 0.5).action == favourite
    assert load_policy(policy.model_dump(mode="json")) == policy


@pytest.mark.parametrize(
    "change", [{"explore": 1.5}, {"memory": 0.0}, {"ridge": 0.0}, {"method": "luck"}, {"update_every": 0}]
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Bandit(TASKS, settings=settings(**change))


def test_bad_rewards_tasks_and_states_are_refused() -> None:
    bandit = Bandit(TASKS)
    row = np.zeros(len(FEATURE_NAMES))
    with pytest.raises(UserError, match="finite"):
        bandit.learn(row, 0, "chat", float("nan"))
    with pytest.raises(UserError, match="task"):
        bandit.learn(row, 0, "cooking", 1.0)
    with pytest.raises(UserError, match="layout"):
        Bandit.from_state(bandit.state() | {"layout": 7})
    with pytest.raises(UserError, match="no state"):
        Bandit.from_state({"layout": 1, "tasks": ["chat"]})


# -- exploring without a bandit ----------------------------------------------------------------------------------------


def test_exploring_is_decided_by_seed_and_request() -> None:
    assert draw(1, "a", 0) == draw(1, "a", 0)
    assert len({draw(1, "a", 0), draw(2, "a", 0), draw(1, "b", 0), draw(1, "a", 1)}) == 4
    numbers = np.array([draw(1, str(k), 0) for k in range(5000)])
    assert numbers.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.02)
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.05


def test_exploring_takes_feasible_actions_with_the_chance_that_it_states() -> None:
    feasible = np.array([True, False, True, True])
    own = np.array([0.0, 0.0, 1.0, 0.0])
    made = [explore(own, 2, feasible, 0.3, draw(1, str(k), 0)) for k in range(20_000)]
    counted = Counter(choice.action for choice in made)
    assert set(counted) == {0, 2, 3}
    for choice in set(made):
        assert counted[choice.action] / 20_000 == pytest.approx(choice.propensity, abs=0.01)
    assert all(choice.propensity == pytest.approx(0.1) for choice in set(made) if choice.action != 2)


def test_a_behaviour_never_scores_what_the_masks_forbid() -> None:
    behaviour = Behaviour(load_policy("random").table(TASKS), share=0.5, seed=1)
    draws = np.random.default_rng(2)
    phi = np.zeros((3, len(FEATURE_NAMES)))
    feasible = np.array([True, False, True])
    for k in range(200):
        phi[:, FEATURE_NAMES.index("noise")] = draws.random(3)
        scored = behaviour.scored(phi, KINDS, 0, feasible)
        assert scored.chances == pytest.approx([0.5, 0.0, 0.5])
        choice = behaviour.choose(scored, feasible, str(k), 0)
        assert choice.action != 1
        assert choice.propensity == pytest.approx(0.5)
