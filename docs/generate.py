"""The pages that are made from the code: docs/reference/, docs/metrics.md and docs/invariants.md.

    python docs/generate.py            write them
    python docs/generate.py --check    exit code 1, and the names of the stale ones, when a page differs from the code

Nothing here depends on a version of typer: commands and options are read from the signatures that cli.py registers.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from made_pages import DOCS, write_or_check
from pydantic import BaseModel
from words import PROFILE_WORDS, WORDS

import cli
import nearfar
from policies import ActionView, DeviceView, ReplicaView, RequestView
from policies.layout import FEATURES, LAYOUT_VERSION
from policies.layout import KINDS as ACTIONS
from policies.policy import Policy, builtin_names, load_policy
from profiles import CONFIDENCES, KINDS, Catalogue, Record
from profiles.screens import list_records
from sim import controls
from sim.controls.specs import ControlSpec
from sim.results.columns import metrics_markdown
from sim.results.invariants import invariants_markdown
from sim.scenario import FleetScenario, PoolScenario
from sim.workloads import trace_layouts
from sim.workloads.distributions import NO_LIMIT
from sim.workloads.trace_layouts import LAYOUTS
from sim.workloads.trace_rows import BAD_STAMP as BAD
from sim.workloads.trace_rows import BEYOND, MALFORMED, NEGATIVE, NO_OUTPUT, NO_PROMPT, NOT_FINITE, REASONS, TOO_LONG
from sim.world import PoolHandle, World

UNBOUNDED = 2**31 - 1  # limits from here on say no more than that a number must fit


HEAD = "<!-- Made by `python docs/generate.py` from the code; edit there. -->\n\n"


# -- text --------------------------------------------------------------------------------------------------------------


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def prose(doc: str | None) -> str:
    """A docstring as Markdown: its indented examples become blocks of text."""
    out: list[str] = []
    block: list[str] = []

    def close() -> None:
        if block:
            while block and not block[-1].strip():
                block.pop()
            out.extend(["```text", *textwrap.dedent("\n".join(block)).splitlines(), "```", ""])
            block.clear()

    for line in inspect.cleandoc(doc or "").splitlines():
        if (line.startswith("    ") and (block or not out or not out[-1].strip())) or (not line.strip() and block):
            block.append(line)
        else:
            close()
            out.append(re.sub(r"::$", ":", line))
    close()
    return "\n".join(out).strip() + "\n"


def anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


# -- commands ----------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command of the application, with the words that call it."""
    for command in cli.app.registered_commands:
        assert command.callback is not None
        yield f"nearfar {command.name or _dashed(command.callback.__name__)}", command.callback
    for group in cli.app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            yield f"nearfar {group.name} {command.name}", command.callback


def _dashed(name: str) -> str:
    return name.strip("_").replace("_", "-")


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, str, str, str, bool]]:
    """Spelling, type, default, help and whether it is an option, for every parameter that is shown."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        info = hints[name].__metadata__[0]
        if info.hidden:
            continue
        kind = typing.get_args(hints[name])[0]
        words = [one for one in typing.get_args(kind) if one is not type(None)] or [kind]
        is_option = type(info).__name__ == "OptionInfo"
        required = parameter.default is inspect.Parameter.empty
        decls = [*(info.param_decls or ()), info.default]  # in an annotation typer keeps the first one as the default
        given = [decl for decl in decls if isinstance(decl, str) and decl.startswith("-")]
        shown_as = info.metavar if info.metavar and not is_option else name.upper()
        spelled = " ".join(given) or (f"--{_dashed(name)}" if is_option else shown_as)
        if not is_option and not required:
            spelled = f"[{spelled}]"
        if words[0] is bool and is_option and not given:
            spelled += f" / --no-{_dashed(name)}"
        unset = parameter.default is None or parameter.default is False or parameter.default == ""
        shown = "required" if required else "" if unset else f"`{parameter.default}`"
        yield spelled, _type_of(words[0], info.metavar), shown, info.help or "", is_option


def _type_of(kind: Any, metavar: str | None) -> str:
    if metavar:
        return metavar.replace("|", " ")
    name = getattr(kind, "__name__", str(kind))
    return {"str": "text", "int": "integer", "Path": "path", "bool": "switch", "list": "text, repeatable"}.get(
        name, name
    )


def cli_page() -> str:
    parts = [
        "# Command line\n",
        "Results go to stdout, progress and messages to stderr. With `--json` stdout holds exactly one JSON object. "
        "`nearfar COMMAND --help` shows the same options. `nearfar --version` prints the version.\n",
        table(
            ("exit code", "meaning"),
            [
                ("0", "done"),
                ("1", "`check-policy`: a check failed"),
                ("2", "bad input: one line on stderr says what, got, allowed, next step"),
                ("130", "interrupted; no half-written file is left behind"),
            ],
        ),
    ]
    for name, function in commands():
        parameters = list(_parameters(function))
        arguments = [spelled for spelled, _, _, _, is_option in parameters if not is_option]
        parts.append(f"## `{name}`\n\n{prose(function.__doc__)}")
        parts.append(f"```text\n{' '.join([name, '[OPTIONS]', *arguments])}\n```\n")
        rows = [(f"`{spelled}`", kind, default, text) for spelled, kind, default, text, _ in parameters]
        parts.append(table(("argument or option", "type", "default", "meaning"), rows))
    return "\n".join(parts)


# -- pydantic records --------------------------------------------------------------------------------------------------


def used_records(root: type[BaseModel]) -> list[type[BaseModel]]:
    """A record and all that its fields mention, in the order in which they are met."""
    found: list[type[BaseModel]] = []

    def visit(kind: Any) -> None:
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            if kind not in found:
                found.append(kind)
                for field in kind.model_fields.values():
                    visit(field.annotation)
            return
        for inner in typing.get_args(kind):
            visit(inner)

    visit(root)
    return found


def comments(record: type[BaseModel]) -> dict[str, str]:
    """What stands behind a field in the source: `max_queue: ...  # waiting requests a replica`."""
    found: dict[str, str] = {}
    for cls in reversed(record.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel:
            continue
        lines = textwrap.dedent(inspect.getsource(cls))
        for node in ast.parse(lines).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                _, hash_, text = lines.splitlines()[(node.end_lineno or node.lineno) - 1].partition("  # ")
                if hash_:
                    found[node.target.id] = text.strip().capitalize() + "."
    return found


def attribute_docs(cls: type) -> dict[str, str]:
    """The docstrings below the fields of a class that is no pydantic record."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one is object or one.__module__ == "builtins":
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0].body  # type: ignore[attr-defined]
        for node, after in pairwise(body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[node.target.id] = " ".join(after.value.value.split())
    return found


_used_words: set[str] = set()
_wordless: set[str] = set()


def _meaning(record: type[BaseModel], name: str, notes: dict[str, str]) -> str:
    said = record.model_fields[name].description or notes.get(name)
    if said:
        return said
    for cls in record.__mro__:
        key = f"{cls.__name__}.{name}"
        if key in WORDS and issubclass(cls, BaseModel):
            _used_words.add(key)
            return WORDS[key]
    if name == "kind" and not issubclass(record, Record):
        return "Which of the alternatives this is."
    if name not in PROFILE_WORDS or not issubclass(record, Record):
        _wordless.add(f"{record.__name__}.{name}")
        return ""
    return PROFILE_WORDS[name]


def record_section(record: type[BaseModel], *, level: int = 2) -> str:
    schema = record.model_json_schema()
    notes = comments(record)
    rows = []
    for name, field in record.model_fields.items():
        kind = _shape(schema["properties"][name], schema.get("$defs", {}))
        if field.annotation == tuple[ControlSpec, ...]:
            kind = "list of [controls](#controls)"
        rows.append((f"`{name}`", kind, _default(field), _meaning(record, name, notes)))
    title = f"{'#' * level} {record.__name__}\n\n"
    return title + prose(record.__doc__) + "\n" + table(("field", "type", "default", "meaning"), rows)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value == NO_LIMIT:
        return "no limit"
    value = getattr(value, "value", value)  # a constant
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, tuple) and value:
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, int | float) else f"`{value}`" if value else ""


def _shape(node: dict[str, Any], defs: dict[str, Any]) -> str:
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        return _shape(defs[name], defs) if "enum" in defs[name] else f"[{name}](#{anchor(name)})"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in node:
            shapes = [_shape(one, defs) for one in node[union] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(shapes))
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "prefixItems" in node:
        shapes = dict.fromkeys(_shape(one, defs) for one in node["prefixItems"])
        return f"{len(node['prefixItems'])} times {' or '.join(shapes)}"
    if node.get("type") == "array":
        items = node.get("items", {})
        return f"list of {_shape(items, defs)}" if items else "list"
    if node.get("type") == "object":
        values = node.get("additionalProperties")
        return f"name → {_shape(values, defs)}" if isinstance(values, dict) else "mapping"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    return words.get(node.get("type", ""), "any") + _bounds(node)


def _bounds(node: dict[str, Any]) -> str:
    text = ""
    signs = (("exclusiveMinimum", ">"), ("minimum", "≥"), ("ge", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
    for key, sign in (*signs, ("le", "≤")):  # ge and le: behind a validator of its own pydantic keeps its own words
        if key in node and abs(node[key]) < UNBOUNDED:
            text += f" {sign} {node[key]:,g}" if node[key] < 1e6 else f" {sign} {node[key]:,.0f}"
    return text


def scenario_page() -> str:
    records = list(dict.fromkeys([*used_records(PoolScenario), *used_records(FleetScenario)]))
    of = {
        record: (
            "The scenario" if record in (PoolScenario, FleetScenario)
            else "Fleet" if record.__module__ == "sim.fleet_spec"
            else "Workload of a fleet" if record.__module__ == "sim.workloads.fleet_spec"
            else "Controls" if record.__module__ == "sim.controls.specs"
            else "Workload without a fleet" if record.__module__.startswith("sim.workloads")
            else "Pools, SLO, routing"
        )
        for record in records
    }  # fmt: skip
    parts = [_SCENARIO]
    for title, words in _SCENARIO_PARTS.items():
        parts.append(f"## {title}\n\n{words}\n" if words else f"## {title}\n")
        parts += [record_section(record, level=3) for record in records if of[record] == title]
    return "\n".join(parts)


_SCENARIO = """\
# Scenario

A scenario is one YAML file. `nearfar init` writes a commented one, `nearfar check` judges yours, and `--set
PATH=VALUE` changes any value below for one run: `--set pools.cloud.replicas=4`. Keys that are not in these tables are
refused.

With `fleet` it is a [FleetScenario](#fleetscenario): devices ask, and a policy chooses among them, their hubs and any
number of pools. Without, it is a [PoolScenario](#poolscenario): requests arrive at the door of one pool.

`extends: other.yaml` takes everything from another scenario, relative to this file, and changes what is given here:
mappings merge key by key, lists and values are replaced. Other relative paths refer to the folder of the file that you
name on the command line.
"""

_SCENARIO_PARTS = {
    "The scenario": "",
    "Pools, SLO, routing": "",
    "Fleet": "How to [describe a fleet](../howto/describe-a-fleet.md); [what the figures "
    "mean](../background/fleet-rules.md).",
    "Workload of a fleet": "",
    "Workload without a fleet": "",
    "Controls": "What happens meanwhile; how effects compose: [write a control](../howto/write-a-control.md).",
}


def profiles_page() -> str:
    parts = [
        "# Profiles\n",
        "Facts with their sources. `nearfar profiles list` and `nearfar profiles show NAME` print them; "
        "[add your own](../howto/add-your-own-facts.md).\n",
        "## Confidence\n",
        "Strongest first; a result is as trustworthy as the weakest fact under it.\n",
        table(("confidence", "meaning"), list(zip(CONFIDENCES, _CONFIDENCE_WORDS, strict=True))),
    ]
    shown: set[type[BaseModel]] = set()
    catalogue = Catalogue()
    for kind, record in KINDS.items():
        parts.append(f"## Kind: {kind}\n")
        for one in used_records(record):
            if one not in shown:
                shown.add(one)
                parts.append(record_section(one, level=3))
        parts.append(f"### Built-in: {kind}\n")
        rows = [(f"`{row['name']}`", row["confidence"], row["source"]) for row in list_records(catalogue, kind)]
        parts.append(table(("name", "confidence", "source"), rows))
    return "\n".join(parts)


def policies_page() -> str:
    parts = [_POLICIES.format(version=LAYOUT_VERSION)]
    features = [(str(i), f"`{one.name}`", one.unit, one.meaning) for i, one in enumerate(FEATURES)]
    parts.append(table(("place", "feature", "unit", "meaning"), features))
    parts.append("## Kinds of actions\n")
    parts.append(table(("kind", "means"), [(f"`{kind}`", _ACTION_WORDS[kind]) for kind in ACTIONS]))
    parts.append("A policy uses the kinds in its `actions`; a request that allows none of them fails, `no_target`.\n")
    parts.append("## A policy file\n")
    parts.append(record_section(Policy, level=3))
    parts.append("## Built-in\n")
    parts.append("`--policy NAME`. Numbers that are tiny break ties.\n")
    for name in builtin_names():
        policy = load_policy(name)
        parts.append(f"### {name}\n\n{policy.description[0].upper()}{policy.description[1:]}.\n")
        parts.append(f"Actions: {', '.join(policy.actions)}.\n")
        rows = [(f"`{feature}`", f"{weight:.9f}".rstrip("0").rstrip(".")) for feature, weight in policy.weights.items()]
        parts.append(table(("feature", "weight"), rows))
        if policy.scenes:
            scenes = [
                (f"`{task}`", ", ".join(f"{kind} {weight:g}" for kind, weight in scene.items()))
                for task, scene in policy.scenes.items()
            ]
            parts.append(table(("scene", "added to the score of"), scenes))
    return "\n".join(parts)


_POLICIES = """\
# Policies

A routing policy chooses, for every request of a fleet, among the actions that are possible. It is a built-in's name, a
YAML file, a mapping, or a function in Python: [choose a policy](../howto/choose-a-policy.md). Of the possible actions
the one with the largest score wins, among equals the first in the order near, hub, pools, cascades, hedges:

```text
score[action] = sum over the features: weight × feature(request, device, network, action)
              + scene[task of the request][kind of the action]
```

What is possible at all is no matter of weights: privacy, modality, lengths, battery, connection and replicas are masks
([rule W2](../background/fleet-rules.md#where-to)). How the features are computed: rules W4 and W5.

## Features

Layout {version}. A policy file says for which layout its weights are (`layout: {version}`); a file for another one is
refused, because a weight must not come to mean something else.
"""

_ACTION_WORDS = {
    "near": "on the asking device",
    "edge": "on the household's hub, or in a pool of tier edge",
    "cloud": "in a pool of tier cloud",
    "cascade": "on the device first; in a pool, when the answer inspires too little confidence",
    "hedge": "on the device and in a pool at once; the first token wins",
}

_CONFIDENCE_WORDS = (
    "a published datasheet, configuration or measurement",
    "least squares on published measurements",
    "arithmetic on measured facts",
    "a stated guess",
)


# -- Python ------------------------------------------------------------------------------------------------------------


def signature(function: Callable[..., Any], name: str) -> str:
    """As the source spells it, one parameter a line when long."""
    words, star = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
            star = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        words.append(f"{parameter.name}: {parameter.annotation}{default}")
    returns = inspect.signature(function).return_annotation
    tail = "" if returns in (inspect.Signature.empty, None, "None") else f" -> {returns}"
    line = f"{name}({', '.join(words)}){tail}"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){tail}"
    return f"```text\n{line}\n```\n"


def function_section(name: str, function: Callable[..., Any]) -> str:
    return f"## {name}\n\n{signature(function, name)}\n{prose(function.__doc__)}"


def class_section(name: str, cls: type) -> str:
    parts = [f"## {name}\n\n{prose(cls.__doc__)}"]
    fields, docs = inspect.get_annotations(cls), attribute_docs(cls)
    if fields and docs:
        rows = [(f"`{field}`", str(kind), docs.get(field, "")) for field, kind in fields.items()]
        parts.append(table(("field", "type", "meaning"), rows))
    elif fields:
        parts.append(table(("field", "type"), [(f"`{field}`", str(kind)) for field, kind in fields.items()]))
    for member, value in vars(cls).items():
        if member.startswith("_") and member != "__init__":
            continue
        if isinstance(value, property):
            returns = inspect.get_annotations(value.fget).get("return", "") if value.fget else ""
            parts.append(f"`{name}.{member}`: {returns}\n\n{prose(value.__doc__)}")
        elif inspect.isfunction(value) and value.__doc__ and value.__doc__ != object.__init__.__doc__:
            parts.append(f"{signature(value, f'{name}.{member}')}\n{prose(value.__doc__)}")
        elif member == "__init__" and name in ("nearfar.Catalogue", "nearfar.UserError"):
            parts.append(signature(value, name))
    return "\n".join(parts)


def python_page() -> str:
    parts = ["# Python\n", prose(nearfar.__doc__)]
    for name in sorted(nearfar.__all__, key=str.lower):
        found = getattr(nearfar, name)
        if inspect.isclass(found):
            parts.append(class_section(f"nearfar.{name}", found))
        elif callable(found):
            parts.append(function_section(f"nearfar.{name}", found))
    parts.append("## What a control gets\n\nSee [write a control](../howto/write-a-control.md). `World` is a "
                 "`simpy.Environment`: `timeout`, `process`, `event` and `now` are SimPy's.\n")  # fmt: skip
    parts += [class_section("World", World), class_section("PoolHandle", PoolHandle)]
    parts.append("## Built-in controls\n\nIn `sim.controls`; see [write a control](../howto/write-a-control.md).\n")
    kinds = [getattr(controls, name) for name in controls.__all__]
    parts += [class_section(kind.__name__, kind) for kind in kinds if inspect.isclass(kind)]
    parts.append("## What a policy gets\n\nIn `policies`. A balancer gets a request and replicas: [write a "
                 "policy](../howto/write-a-policy.md). A router gets a request, its device and the possible actions: "
                 "[choose a policy](../howto/choose-a-policy.md).\n")  # fmt: skip
    views = (RequestView, ReplicaView, DeviceView, ActionView)
    parts += [class_section(view.__name__, view) for view in views]
    return "\n".join(part.rstrip() + "\n" for part in parts)


# -- traces ------------------------------------------------------------------------------------------------------------

_REASON_WORDS = {
    MALFORMED: "a cell is missing, or holds no whole number of tokens, no class from 0 to 7, or no limit above 0",
    TOO_LONG: "the line exceeds 1 MiB (CSV) or 16 MiB (JSONL); it is skipped, never held in memory",
    BAD: "the stamp is no date with a time, or no number",
    NOT_FINITE: "a number is NaN or infinite where it must not be",
    NEGATIVE: "prompt or output tokens below 0",
    NO_PROMPT: "0 prompt tokens",
    NO_OUTPUT: "0 output tokens",
    BEYOND: "a usable row that `--requests` (or `requests` of the trace) left out",
}


def traces_page() -> str:
    sources = dict(re.findall(r"^\| (\w+) \|.*\| (.*?) \|$", trace_layouts.__doc__ or "", flags=re.MULTILINE))
    rows = [
        (
            layout.kind,
            " or ".join(f"`{name}`" for name in layout.stamp),
            "date and time" if layout.dated else f"1/{layout.stamps_per_s:,.0f} s" if layout.stamps_per_s != 1 else "s",
            f"`{layout.prompt}`",
            f"`{layout.output}`",
            ", ".join(f"`{name}`" for _, name in layout.optional),
            sources.get(layout.kind, ""),
        )
        for layout in LAYOUTS
    ]
    heads = ("layout", "stamp", "unit of the stamp", "prompt tokens", "output tokens", "optional", "source")
    reasons = [(reason, _REASON_WORDS[reason]) for reason in REASONS]
    return _TRACES.format(layouts=table(heads, rows), reasons=table(("reason", "when"), reasons))


_TRACES = """\
# Traces

A trace is CSV with a header, or JSONL with one object a line; plain or gzipped (told by its first bytes), UTF-8. Its
layout is known by the names of its columns, in any order and case; other columns are ignored. A file whose columns
fit no layout, or more than one, is refused with exit code 2.

## Layouts

{layouts}
In the layout `plain` a blank `priority`, `patience_s` or `deadline_s` takes what the scenario says; a blank `session`
means none. `hash_ids` are hashes of blocks of 512 prompt tokens: they drive the prefix cache. Stamps may start
anywhere: the first arrival is at 0 s.

## Rows that become no request

They are counted by reason in `dropped_by` of the summary. `rows_read` is always the rows that became requests plus
all that were dropped.

{reasons}
A row that is readable but too long for the deployment is not dropped: it becomes a request and is `rejected`, reason
`too_long` or `exceeds_kv`.

## Repairs

Each is told in `notes` of the summary.

- Rows out of order are sorted by stamp.
- Stamps that share a point of Mooncake's 3 s grid are spread evenly over one step of it.
- The first arrival is shifted to 0 s.
- With more requests wanted than rows, the whole trace is repeated, later by the last arrival and one mean gap. A
  repetition holds other conversations: it shares no prefix with the one before.
"""


# -- all ---------------------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    made = {
        "reference/cli.md": HEAD + cli_page(),
        "reference/scenario.md": HEAD + scenario_page(),
        "reference/profiles.md": HEAD + profiles_page(),
        "reference/policies.md": HEAD + policies_page(),
        "reference/python-api.md": HEAD + python_page(),
        "reference/traces.md": HEAD + traces_page(),
        "metrics.md": metrics_markdown(),
        "invariants.md": invariants_markdown(),
    }
    if superfluous := sorted(set(WORDS) - _used_words):
        raise SystemExit(f"docs/generate.py: the code describes these itself, or knows them no more: {superfluous}")
    if _wordless:
        raise SystemExit(f"docs/generate.py: nothing says what these mean: {sorted(_wordless)}")
    return {DOCS / name: re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n" for name, text in made.items()}


def main() -> int:
    """Write the pages, or only compare them. 1 when a page is stale."""
    return write_or_check(pages(), "generate.py")


if __name__ == "__main__":
    sys.exit(main())
