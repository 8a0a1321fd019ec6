"""docs/policies/: a page a built-in policy, with the numbers of its file; the example's are compared by test_docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from policies.policy import builtin_names, load_policy

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "policies"


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_has_a_page_with_its_parameters(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    policy = load_policy(name)
    shown = text.partition("<!-- made: parameters -->")[2].partition("<!-- end -->")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| \S+ \| (\S+) \|", shown, flags=re.MULTILINE))
    assert {feature: float(weight) for feature, weight in rows.items()} == policy.weights
    scenes = re.findall(r"^\| `([a-z-]+)` \| ([a-z]+ [^|]*) \|$", shown, flags=re.MULTILINE)
    assert {
        task: {kind: float(weight) for kind, weight in (part.split() for part in row.split(", "))}
        for task, row in scenes
    } == policy.scenes
    assert f"Actions: {', '.join(policy.actions)}." in shown
    assert f"--policy {name}\n" in text
    assert f"nearfar explain {name} " in text
    for heading in ("Parameters", "Example", "What to know", "References"):
        assert f"\n## {heading}\n" in text
    assert f"[{name}]({name}.md)" in (FOLDER / "index.md").read_text(encoding="utf-8")


def test_no_page_is_left_of_a_policy_that_is_gone() -> None:
    """Pages of policies that are no built-in (a learned one, say) have no made blocks, and are not looked at."""
    made = {path.stem for path in FOLDER.glob("*.md") if "<!-- made: parameters -->" in path.read_text("utf-8")}
    assert made == set(builtin_names())


@pytest.mark.long
def test_the_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "docs/policy_pages.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
