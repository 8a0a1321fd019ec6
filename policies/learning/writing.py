"""Policies as files that people read: every number with its unit and meaning beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from policies.layout import FEATURES
from policies.policy import Policy
from profiles.errors import UserError

__all__ = ["policy_text", "write_policy"]

_WIDTH = 100


def policy_text(policy: Policy) -> str:
    """The YAML of a policy; `policies.policy.load_policy` reads the same policy from it."""
    head: dict[str, Any] = {"name": policy.name}
    if policy.description:
        head["description"] = policy.description
    head |= {"layout": policy.layout, "actions": list(policy.actions)}
    text = _dumped(head)
    if policy.thresholds:
        text += _dumped({"thresholds": list(policy.thresholds)})
    if any(policy.weights.values()):
        text += "weights:\n" + "".join(_weight(policy, feature) for feature in FEATURES)
    if policy.scenes:
        text += "scenes: # added to the score of a kind of action, by task\n"
        text += "".join(f"  {_key(task)}: {_flow(row)}\n" for task, row in policy.scenes.items())
    if policy.tuning:
        text += _dumped({"tuning": policy.tuning})
    return text


def write_policy(policy: Policy, path: Path) -> None:
    """Write or replace the file, in one step. Raises `UserError`."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(policy_text(policy), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}", got=str(error.strerror)) from None


def _weight(policy: Policy, feature: Any) -> str:
    if not policy.weights.get(feature.name):
        return ""
    per = f"per {feature.unit}: " if feature.unit else ""
    return f"  {feature.name}: {policy.weights[feature.name]!r} # {per}{feature.meaning}\n"


def _key(task: str) -> str:
    """In quotes where it would not be read as this text."""
    return yaml.safe_dump([task], width=math.inf, allow_unicode=True, default_flow_style=True).strip()[1:-1]


def _flow(row: Any) -> str:
    return "{" + ", ".join(f"{kind}: {number!r}" for kind, number in row.items()) + "}"


def _dumped(data: dict[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, width=_WIDTH, default_flow_style=None, allow_unicode=True)
