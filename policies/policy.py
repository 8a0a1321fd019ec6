"""Policy files: weights of features and of scenes, by name.

    name: mine
    layout: 1
    actions: [near, edge, cloud]
    weights: {quality: 3, e2e_s: -0.1}
    scenes:
      translation: {near: 1}
      default: {cloud: 0.5}

The possible action with the largest score wins: the sum of weight x feature, plus what the task's scene says about the
action's kind. Features and their units: `policies.layout`. A policy names no pool, so that it fits any fleet; tasks
without a scene of their own have the one called `default`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from policies.layout import FEATURE_NAMES, KINDS, LAYOUT_VERSION, Kind
from policies.table import PolicyTable
from profiles.complaints import told
from profiles.errors import UserError, did_you_mean
from profiles.reading import load_mapping
from profiles.record import Facts

__all__ = ["DEFAULT_SCENE", "Policy", "builtin_names", "load_policy"]

DEFAULT_SCENE = "default"
"""The scene of tasks that have none of their own."""

# Far beyond any use, far enough from overflow.
Weight = Annotated[float, Field(strict=True, ge=-1e12, le=1e12, allow_inf_nan=False)]

_BUILTIN = Path(__file__).resolve().parent / "builtin"


class Policy(Facts):
    """A linear policy: what it may do, and what it makes of what it sees."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    layout: int
    """Version of the features that the weights are for."""
    actions: tuple[Kind, ...] = ("near", "edge", "cloud")
    """Kinds of actions that it uses; a request that allows none of them fails."""
    weights: dict[str, Weight] = Field(default_factory=dict)
    """By feature; 0 for those that are not listed."""
    scenes: dict[str, dict[Kind, Weight]] = Field(default_factory=dict)
    """By task, or `default`: added to the score of each kind of action; 0 for those that are not listed."""
    thresholds: tuple[str, ...] = ()
    """Weights that say where it switches, and `scenes` where these do: what tuning a rule may change."""
    tuning: dict[str, Any] | None = None
    """How it was made, if it was tuned: for people and provenance; nothing reads it when it decides."""

    @model_validator(mode="before")
    @classmethod
    def _of_this_layout(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            _check_layout(data)
        return data

    @field_validator("weights")
    @classmethod
    def _of_features(cls, weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            if name not in FEATURE_NAMES:
                raise UserError("unknown feature", got=name, next_step=did_you_mean(name, FEATURE_NAMES))
        return weights

    @field_validator("thresholds")
    @classmethod
    def _of_numbers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in (*FEATURE_NAMES, "scenes"):
                raise UserError("thresholds: unknown feature", got=name, next_step=did_you_mean(name, FEATURE_NAMES))
        return names

    @model_validator(mode="after")
    def _of_its_actions(self) -> Self:
        if not self.actions:
            raise UserError("actions: at least one kind is needed", allowed=", ".join(KINDS))
        if len(set(self.actions)) < len(self.actions):
            raise UserError("actions: a kind is listed twice", got=list(self.actions))
        rows: dict[str, Mapping[Any, float]] = {f"scenes.{task}": row for task, row in self.scenes.items()}
        rows["weights"] = self.weights
        for where, row in rows.items():
            for kind in KINDS:
                if row.get(kind) and kind not in self.actions:
                    raise UserError(
                        f"{where}.{kind} is given, but actions leaves {kind} out",
                        got=row[kind],
                        next_step=f"add {kind} to actions, or remove the number",
                    )
        return self

    def table(self, tasks: Sequence[str]) -> PolicyTable:
        """The numbers of this policy for a fleet with these tasks, in their order."""
        default = self.scenes.get(DEFAULT_SCENE, {})
        rows = [self.scenes.get(task, default) for task in tasks]
        scene = np.array([[row.get(kind, 0.0) for kind in KINDS] for row in rows], np.float64)
        near, edge, cloud, cascade, hedge = (kind in self.actions for kind in KINDS)
        return PolicyTable(
            name=self.name,
            weights=np.array([self.weights.get(name, 0.0) for name in FEATURE_NAMES], np.float64),
            scene=scene.reshape(len(rows), len(KINDS)),
            kinds=(near, edge, cloud, cascade, hedge),
        )

    def unused_scenes(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Scenes whose task is not among these: no error, but worth a line, as it may be a misspelling."""
        return tuple(name for name in self.scenes if name != DEFAULT_SCENE and name not in tasks)


def builtin_names() -> tuple[str, ...]:
    """The policies that come with the program, sorted."""
    return tuple(sorted(path.stem for path in _BUILTIN.glob("*.yaml")))


def load_policy(source: str | Path | Mapping[str, Any], *, folder: Path | None = None) -> Policy:
    """A policy by a built-in's name, from a YAML file (relative to `folder`), or from a mapping.

    A built-in goes before a file of the same name. Raises `UserError` when there is no such policy, when the file
    cannot be read, and when it does not describe a policy of this program's layout.
    """
    if isinstance(source, Mapping):
        return _policy({"name": "policy"} | dict(source), "policy")
    if isinstance(source, str) and source in builtin_names():
        return _policy(load_mapping(_BUILTIN / f"{source}.yaml", f"built-in policy {source}"), f"policy {source}")
    if not isinstance(source, str | Path):
        raise UserError("a policy is a built-in's name, a YAML file or a mapping", got=source)
    path = (folder or Path()) / source
    if not source or not path.exists():
        if path.suffix in (".yaml", ".yml"):
            raise UserError("no such policy file", got=str(source), next_step=f"built in: {', '.join(builtin_names())}")
        hint = did_you_mean(str(source), builtin_names())
        raise UserError("unknown policy", got=str(source), allowed="a built-in's name, or a YAML file", next_step=hint)
    if path.is_dir():
        raise UserError("a policy is a YAML file, this is a folder", got=str(source))
    return _policy({"name": path.stem} | load_mapping(path, path.name), path.name)


def _policy(data: dict[str, Any], where: str) -> Policy:
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        raise told(error, Policy, where) from None


def _check_layout(data: Mapping[str, Any]) -> None:
    """Before anything else: in a file of another version no other complaint would make sense."""
    this = f"this program reads layout {LAYOUT_VERSION}"
    if "layout" not in data:
        raise UserError(
            f"no layout is given; {this}", next_step=f"write `layout: {LAYOUT_VERSION}` if its features are those"
        )
    found = data["layout"]
    if isinstance(found, bool) or not isinstance(found, int):
        raise UserError("layout: bad value", got=found, allowed=f"a whole number; {this}")
    if found < LAYOUT_VERSION:
        raise UserError(
            f"the policy is written for layout {found}, {this}",
            next_step=f"check its features against these, then write `layout: {LAYOUT_VERSION}`; or train it anew",
        )
    if found > LAYOUT_VERSION:
        raise UserError(f"the policy is written for layout {found}, {this}", next_step="use a newer version of nearfar")
