"""The suite that every policy passes, built in or a user's own, before anything depends on it.

    report = conformance("near")
    report.passed, report.checks, report.remarks

It puts a policy before thousands of made-up situations (`policies.checking.situations`), of which the first are those
that `policies.check.check_policy` asks about before any simulation, and looks at what it does:

    reads           it is a policy of this program's layout, and names what exists
    total           it chooses whenever an action of its kinds is possible, and the only one when there is one
    masks           what it chooses is possible; private requests stay where their class keeps them
    finite          its scores, or its answers, are numbers
    deterministic   same situation, same noise, same choice: again, and in another order
    fast            a decision of weights takes about as long as the reference's; that of a function is told
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from policies.check import RoutingPolicy, What, asked
from policies.checking.remarks import idle_actions, weight_remarks
from policies.checking.report import Check, Report
from policies.checking.scoring import Scorer
from policies.checking.situations import Situation, adversarial, plain
from policies.layout import KINDS, LAYOUT_VERSION
from policies.policy import Policy, load_policy
from policies.table import PolicyTable
from profiles import Catalogue
from profiles.errors import UserError

__all__ = ["CHECKS", "conformance"]

CHECKS = ("reads", "total", "masks", "finite", "deterministic", "fast")

SITUATIONS = 3000
FEWER = 300  # for a function that takes long
LONG_S = 1e-3  # a decision of a function from which on there are fewer
TRIED = 20  # decisions that tell how long one takes
TIMED = 500
TIMES_REFERENCE = 20.0  # a compiled decision may take so many times the reference's: far beyond any noise

Clock = Callable[[], float]
_LAST_PLACE = {"device": 0, "home": 1}
"""Privacy class to the last action of rule W1 that it leaves: near; the hub, too."""


class Answer(NamedTuple):
    """What a policy did in a situation."""

    what: What
    chosen: int | None = None
    told: str = ""


Decide = Callable[[Situation], Answer]


def conformance(
    source: str | Path | Mapping[str, Any] | Policy | PolicyTable | RoutingPolicy,
    *,
    folder: Path | None = None,
    situations: int = SITUATIONS,
    clock: Clock = time.perf_counter,
) -> Report:
    """Try a policy out: a built-in's name, a YAML file (relative to `folder`), a mapping, numbers over all tasks of the
    catalogue, or a routing function. `clock` gives seconds. Raises nothing for a bad policy: the report says it all.
    """
    if callable(source):
        return _of_function(source, situations, clock)
    tasks = tuple(Catalogue().names("task"))
    policy: Policy | None = None
    try:
        if isinstance(source, PolicyTable):
            table = source
        else:
            policy = source if isinstance(source, Policy) else load_policy(source, folder=folder)
            table = policy.table(tasks)
        scorer = Scorer(table, tasks)
    except UserError as error:
        unread = Check(name="reads", passed=False, detail=str(error))
        return Report(policy=str(source), form="unreadable", checks=(unread,), error=error)
    everything = _situations(situations)
    tried = [one for one in everything if one.possible(scorer.kinds)]
    decide = _by_weights(scorer)
    taken_s, reference_s = _timed(decide, tried, clock)
    given = len(policy.weights) if policy else len(table.weights)
    scenes = len(policy.scenes) if policy else len(table.scene)
    parts = (_counted(given, "weight"), _counted(scenes, "scene"))
    reads = f"layout {LAYOUT_VERSION}; {', '.join(parts)}; actions: {', '.join(_in_order(scorer))}"
    return Report(
        policy=table.name,
        form="weights",
        checks=(Check(name="reads", passed=True, detail=reads), *_checked(decide, tried), _fast(taken_s, reference_s)),
        remarks=(
            *_unused(policy, tasks),
            *idle_actions(scorer, everything),
            *weight_remarks(scorer, tried),
        ),
    )


def _of_function(function: RoutingPolicy, situations: int, clock: Clock) -> Report:
    name = getattr(function, "__name__", type(function).__name__)
    decide = _by_function(function)
    remarks = []
    tried = _situations(situations)
    begun = clock()
    for one in tried[:TRIED]:
        decide(one)
    if (clock() - begun) / TRIED > LONG_S and situations > FEWER:
        tried = tried[:FEWER]
        remarks.append(f"a decision takes more than {LONG_S * 1e3:g} ms: tried in {FEWER} situations only")
    taken_s, reference_s = _timed(decide, tried, clock)
    fast = _fast(taken_s, reference_s)
    if not fast.passed:
        remarks.append(f"slow: {fast.detail}; a fleet asks at every request")
    return Report(
        policy=name,
        form="function",
        checks=(
            Check(name="reads", passed=True, detail="a function of (request, device, actions)"),
            *_checked(decide, tried),
            Check(name="fast", passed=True, detail=f"{fast.detail}: told, no verdict", counts=fast.counts),
        ),
        remarks=tuple(remarks),
    )


def _situations(count: int) -> tuple[Situation, ...]:
    first = plain()
    return (*first, *adversarial(max(0, count - len(first))))[:count]


# -- deciding ----------------------------------------------------------------------------------------------------------


def _by_weights(scorer: Scorer) -> Decide:
    def decide(situation: Situation) -> Answer:
        scored = scorer.scored(situation)
        strange = [one for one in scored if not math.isfinite(one.score)]
        if strange:
            return Answer("not finite", told=f"the score of {strange[0].action.kind} is {strange[0].score}")
        best = scorer.best(scored)
        return Answer("nothing", told="nothing") if best is None else Answer("action", best.action.index)

    return decide


def _by_function(function: RoutingPolicy) -> Decide:
    def decide(situation: Situation) -> Answer:
        what, index, value = asked(function, situation.request, situation.device, situation.possible())
        return Answer(what, index, _told(what, index, value, situation))

    return decide


def _told(what: What, index: int | None, value: Any, situation: Situation) -> str:
    """What a function did, for the report."""
    if what == "raised":
        return f"raised {type(value).__name__}: {value}"
    if what == "nothing":
        return "returned nothing"
    if what == "not finite":
        return f"returned {value}"
    if what == "action":
        return ""
    offered = ", ".join(str(action.index) for action in situation.possible())
    masks = "; ruled out by " + ", ".join(situation.ruled_out[index]) if index in situation.ruled_out else ""
    return f"returned {value!r}, offered: {offered}{masks}"


# -- checks ------------------------------------------------------------------------------------------------------------


def _checked(decide: Decide, tried: Sequence[Situation]) -> tuple[Check, ...]:
    answers = [decide(one) for one in tried]
    again = [decide(one) for one in tried]
    backwards = [decide(one) for one in reversed(tried)][::-1]
    alone = sum(len(one.possible()) == 1 for one in tried)
    private = sum(one.request.privacy != "any" for one in tried)
    steady = [a[:2] == b[:2] == c[:2] for a, b, c in zip(answers, again, backwards, strict=True)]
    return (
        _check(
            "total", tried, answers, [a.what not in ("raised", "nothing") for a in answers], {"one_possible": alone}
        ),
        _check(
            "masks",
            tried,
            answers,
            [_stays(a, one) for a, one in zip(answers, tried, strict=True)],
            {"private": private},
        ),
        _check("finite", tried, answers, [a.what != "not finite" for a in answers], {}),
        _check("deterministic", tried, answers, steady, {"orders": 2, "repeats": 3}),
    )


def _stays(answer: Answer, situation: Situation) -> bool:
    """Whether a choice is among what is possible, and where the privacy class keeps it, written out once more."""
    if answer.what != "action":
        return answer.what != "not offered"
    last = _LAST_PLACE.get(situation.request.privacy, math.inf)
    return answer.chosen not in situation.ruled_out and answer.chosen is not None and answer.chosen <= last


def _check(
    name: str, tried: Sequence[Situation], answers: Sequence[Answer], held: Sequence[bool], more: Mapping[str, int]
) -> Check:
    counts = {"situations": len(tried), "failed": len(held) - sum(held), **more}
    if all(held):
        return Check(name=name, passed=True, detail=f"in all of {len(tried):,} situations", counts=counts)
    first = list(held).index(False)
    told = (
        answers[first].told or "chose otherwise when asked again" * (name == "deterministic") or "chose what is masked"
    )
    detail = f"not in {counts['failed']:,} of {len(tried):,} situations; first: {_words(tried[first])}: {told}"
    return Check(name=name, passed=False, detail=detail, counts=counts)


def _words(situation: Situation) -> str:
    request, device = situation.request, situation.device
    possible = Counter(action.kind for action in situation.possible())
    kinds = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in possible.items())
    return (
        f"{request.task} of privacy {request.privacy}, {request.prompt_tokens} prompt tokens, battery "
        f"{device.battery:.2g}, network {device.network}, possible: {kinds}"
    )


def _timed(decide: Decide, tried: Sequence[Situation], clock: Clock) -> tuple[float, float]:
    """Seconds of a decision, and of one by the reference (the built-in `near`) in the same situations: the best of
    three rounds each, in turns, after one that does not count."""
    tasks = tuple(Catalogue().names("task"))
    reference = _by_weights(Scorer(load_policy("near").table(tasks), tasks))
    some = tried[:TIMED]
    rounds = [(_round(decide, some, clock), _round(reference, some, clock)) for _ in range(4)][1:]
    return min(mine for mine, _ in rounds), min(theirs for _, theirs in rounds)


def _round(decide: Decide, some: Sequence[Situation], clock: Clock) -> float:
    begun = clock()
    for one in some:
        decide(one)
    return (clock() - begun) / max(1, len(some))


def _fast(taken_s: float, reference_s: float) -> Check:
    """Whether a decision takes at most `TIMES_REFERENCE` times as long as the reference's."""
    times = taken_s / max(reference_s, 1e-9)
    detail = f"{taken_s * 1e6:.3g} µs a decision from Python, {times:.2g} times the reference's"
    counts = {"decision_us": round(taken_s * 1e6, 3), "reference_us": round(reference_s * 1e6, 3)}
    return Check(name="fast", passed=times <= TIMES_REFERENCE, detail=detail, counts=counts)


def _in_order(scorer: Scorer) -> list[str]:
    return [kind for kind in KINDS if kind in scorer.kinds]


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _unused(policy: Policy | None, tasks: Sequence[str]) -> list[str]:
    unused = policy.unused_scenes(tasks) if policy else ()
    return [f"no task that comes with nearfar has the name of scene {name!r}" for name in unused]
