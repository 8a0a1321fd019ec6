"""The numbers of docs/policies/: a page a built-in policy, with its parameters and what it does in an example.

    python docs/policy_pages.py            write them (half a minute: every policy is run)
    python docs/policy_pages.py --check    exit code 1, and the names of the stale ones

The text of a page is written by hand, in the page. What stands between `<!-- made: NAME -->` and `<!-- end -->` is made
here: `parameters` and `example` of a policy; `figures` of the index. A new built-in needs a page of its name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from made_pages import DOCS, block_names, refilled, write_or_check

import nearfar
from policies.layout import FEATURES
from policies.policy import Policy, builtin_names, load_policy
from sim.explaining_screen import explanation_screen
from sim.results.screen import screen

FOLDER = DOCS / "policies"

SCENARIO = "examples/calm.yaml"
REQUESTS = 2000
SHOWN = ("answered by", "quality", "battery", "cost")  # lines of the screen of a run
TOLD = ("chosen", "to turn it")  # and of an explanation
REQUEST = "task=chat,prompt_tokens=800,difficulty=0.5"
DEVICE = "group=phones,battery=0.3,network=lte"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def plain(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


# -- one policy --------------------------------------------------------------------------------------------------------


def parameters(policy: Policy) -> str:
    """Its actions, weights and scenes."""
    known = {feature.name: feature for feature in FEATURES}
    rows = [
        (f"`{name}`", known[name].unit or "-", plain(weight), known[name].meaning)
        for name, weight in policy.weights.items()
    ]
    parts = [
        f"Actions: {', '.join(policy.actions)}.\n",
        table(("feature", "unit", "weight, a unit", "the feature is"), rows),
    ]
    if policy.scenes:
        scenes = [
            (f"`{task}`", ", ".join(f"{kind} {plain(weight)}" for kind, weight in row.items()))
            for task, row in policy.scenes.items()
        ]
        parts.append(table(("scene", "added to the score of"), scenes))
    return "\n".join(parts)


def excerpt(text: str, labels: Sequence[str]) -> Iterator[str]:
    """Lines that begin so, and those that go on with the last of them; `...` for all between."""
    shown = gap = False
    for line in text.splitlines():
        goes_on = shown and line.startswith("            ") and bool(line.strip())
        shown = line.startswith(tuple(labels)) or goes_on
        if shown:
            yield line.rstrip()
        elif not gap:
            yield "..."
        gap = not shown


def example(name: str, summary: Mapping[str, Any]) -> str:
    """What it does with the requests of an hour, and with one."""
    explained = nearfar.explain(name, request=REQUEST, device=DEVICE, scenario=DOCS.parent / SCENARIO)
    lines = [
        "```console",
        f"$ nearfar simulate {SCENARIO} --requests {REQUESTS} --policy {name}",
        *excerpt(screen(summary), SHOWN),
        f"$ nearfar explain {name} --scenario {SCENARIO} \\",
        f"    --request {REQUEST} --device {DEVICE}",
        *excerpt(explanation_screen(explained), TOLD),
        "```",
    ]
    return "\n".join(lines) + "\n"


# -- all of them -------------------------------------------------------------------------------------------------------


def summaries() -> dict[str, dict[str, Any]]:
    """Every built-in under the same requests."""
    path = DOCS.parent / SCENARIO
    return {name: nearfar.simulate(path, requests=REQUESTS, policy=name).summary for name in builtin_names()}


def figures(runs: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ("policy", "near", "edge", "far", "right", "met their SLO", "TTFT p50", "E2E p95", "device, a request")
    rows = [
        (
            f"[{name}]({name}.md)",
            *(f"{100 * run['share'][place]:.0f} %" for place in ("near", "edge", "far")),
            f"{100 * run['quality_mean']:.1f} %",
            f"{100 * run['slo_attainment']:.1f} %",
            f"{run['ttft_s']['p50']:.2f} s",
            f"{run['e2e_s']['p95']:.1f} s",
            f"{run['device_energy_j_per_request']:.1f} J",
        )
        for name, run in runs.items()
    ]
    return table(heads, rows)


def filled(path: Path, blocks: Mapping[str, str]) -> str:
    """A page with its blocks as they are now."""
    if not path.exists():
        raise SystemExit(f"docs/policies/{path.name} is missing: every built-in policy has a page")
    text = path.read_text(encoding="utf-8")
    if (asked := block_names(text)) != list(blocks):
        raise SystemExit(
            f"docs/policies/{path.name} must hold the blocks {list(blocks)}, in this order; it has {asked}"
        )
    return refilled(text, blocks)


def files() -> dict[Path, str]:
    """Every page, by path."""
    runs = summaries()
    pages = {FOLDER / "index.md": filled(FOLDER / "index.md", {"figures": figures(runs)})}
    for name, summary in runs.items():
        blocks = {"parameters": parameters(load_policy(name)), "example": example(name, summary)}
        pages[FOLDER / f"{name}.md"] = filled(FOLDER / f"{name}.md", blocks)
    return pages


def main() -> int:
    """Write the pages, or only compare them. 1 when one is stale."""
    return write_or_check(files(), "policy_pages.py")


if __name__ == "__main__":
    sys.exit(main())
