"""Asking a routing function, and trying it out in a few plain situations before a simulation depends on it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from policies import ActionView, DeviceView, RequestView
from profiles.errors import UserError

__all__ = ["PLAIN", "Answer", "Plain", "RoutingPolicy", "What", "asked", "check_policy", "chosen", "whole"]

RoutingPolicy = Callable[[RequestView, DeviceView, list[ActionView]], int]
What = Literal["action", "raised", "nothing", "not finite", "not offered"]


class Answer(NamedTuple):
    """What a routing function does when it is asked."""

    what: What
    chosen: int | None = None
    """The index of an action, where the answer is a whole number."""
    value: Any = None
    """What it returned, or raised."""


class Plain(NamedTuple):
    """A situation without surprises; all its actions are possible."""

    words: str
    request: RequestView
    device: DeviceView
    actions: tuple[ActionView, ...]


_REQUEST = RequestView(id=0, now_s=1.5, arrival_s=1.5, prompt_tokens=200, attempt=0, task="chat", difficulty=0.4)
_DEVICE = DeviceView(id=3, kind="phones", battery=0.6, heat=0.2, network="wifi-home", metered=False)
_NEAR = ActionView(
    index=0,
    kind="near",
    pool=None,
    quality=0.6,
    ttft_s=0.4,
    e2e_s=12.0,
    energy_j=60.0,
    cost_usd=0.0,
    egress_bytes=0.0,
    load=0.0,
    noise=0.3,
)
_CLOUD = replace(
    _NEAR,
    index=2,
    kind="cloud",
    pool="cloud",
    quality=0.9,
    ttft_s=0.5,
    e2e_s=4.0,
    energy_j=3.0,
    cost_usd=2e-4,
    egress_bytes=2e3,
    load=0.5,
    noise=0.7,
)
_EDGE = replace(_CLOUD, index=1, kind="edge", pool=None, quality=0.7, cost_usd=0.0, egress_bytes=0.0, noise=0.1)
_CASCADE = replace(_CLOUD, index=3, kind="cascade", quality=0.85, ttft_s=12.5, e2e_s=14.0, energy_j=61.0, noise=0.5)
_HEDGE = replace(_CLOUD, index=4, kind="hedge", quality=0.6, ttft_s=0.4, e2e_s=12.0, energy_j=63.0, noise=0.9)

PLAIN = (
    Plain("when everything is possible", _REQUEST, _DEVICE, (_NEAR, _EDGE, _CLOUD, _CASCADE, _HEDGE)),
    Plain("with near and cloud", _REQUEST, _DEVICE, (_NEAR, _CLOUD)),
    Plain(
        "with near alone, for a private task",
        replace(_REQUEST, task="text-prediction", privacy="device", prompt_tokens=1, difficulty=-3.0),
        replace(_DEVICE, network="offline"),
        (_NEAR,),
    ),
    Plain(
        "with the cloud alone, on a hot phone with an empty battery",
        replace(_REQUEST, task="code", prompt_tokens=100_000, difficulty=5.0),
        replace(_DEVICE, battery=0.0, heat=1.1, network="lte", metered=True),
        (replace(_CLOUD, load=40.0, ttft_s=500.0, e2e_s=3000.0),),
    ),
    Plain(
        "with two pools, after one that was lost",
        replace(_REQUEST, attempt=1, now_s=9.0),
        _DEVICE,
        (_CLOUD, replace(_CLOUD, index=5, pool="other", noise=0.2)),
    ),
)
"""The first situations of the conformance suite (`policies.checking`)."""


def check_policy(function: RoutingPolicy) -> None:
    """Call a routing function in the plain situations with which the conformance suite begins.

    Raises `UserError` when it is no function, raises, or returns anything but the index of an action that it was given.
    """
    if not callable(function):
        raise UserError("a routing policy must be a function of (request, device, actions)", got=function)
    for situation, request, device, actions in PLAIN:
        chosen(function, request, device, actions, situation=situation)


def chosen(
    function: RoutingPolicy,
    request: RequestView,
    device: DeviceView,
    actions: Sequence[ActionView],
    *,
    situation: str = "",
) -> int:
    """The index that a routing function chooses. Raises `UserError` when it raises or chooses what was not offered."""
    answer = asked(function, request, device, actions)
    if answer.what == "action" and answer.chosen is not None:
        return answer.chosen
    what = f"the routing policy {getattr(function, '__name__', type(function).__name__)!r}"
    after = f" {situation}" if situation else ""
    if answer.what == "raised":
        error = answer.value
        raise UserError(
            f"{what} raised {type(error).__name__}{after}: {error}",
            next_step="it is called as function(request, device, actions)" if isinstance(error, TypeError) else "",
        ) from error
    raise UserError(
        f"{what} must return the index of an action that it was given (action.index){after}",
        got="nothing" if answer.what == "nothing" else answer.value,
        allowed=", ".join(str(action.index) for action in actions),
    )


def asked(function: RoutingPolicy, request: RequestView, device: DeviceView, actions: Sequence[ActionView]) -> Answer:
    """Ask a routing function once. Raises nothing: the user's code may raise anything, and the answer tells."""
    try:
        value: Any = function(request, device, list(actions))
    except (Exception, SystemExit) as error:
        return Answer("raised", value=error)
    if value is None:
        return Answer("nothing")
    if isinstance(value, float) and not math.isfinite(value):
        return Answer("not finite", value=value)
    index = whole(value)
    offered = any(index == action.index for action in actions)
    return Answer("action" if offered else "not offered", index, value)


def whole(answer: Any) -> int | None:
    """A whole number of any type, but no flag."""
    if isinstance(answer, bool):
        return None
    try:
        return operator.index(answer)
    except TypeError:
        return None
