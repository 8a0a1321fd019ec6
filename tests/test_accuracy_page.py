"""docs/accuracy.md says what `nearfar validate` says, and shows its pictures."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import cli

ROOT = Path(__file__).resolve().parents[1]
ERROR = re.compile(
    r"^\| (decode rate|prefill rate|TPOT|TTFT) \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) % \| ([\d.]+) % \|$", re.MULTILINE
)
GROUP = re.compile(
    r"^\| ((?:vllm|sglang|trtllm) \S+ \S+) \| [\d,]+ \| \d+ \| ([\d.]+) % \| ([\d.]+) % \|", re.MULTILINE
)
METRIC = {"decode rate": "decode_tok_s", "prefill rate": "prefill_tok_s", "TPOT": "tpot_ms", "TTFT": "ttft_ms"}


def validated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["nearfar", "validate", "--json"])
    with contextlib.suppress(SystemExit):
        cli.main()
    return json.loads(capsys.readouterr().out)


def test_the_page_on_accuracy_has_the_figures_of_validate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    real = validated(capsys, monkeypatch)
    assert {name: row for name, *row in ERROR.findall(text)} == {
        name: [
            f"{real['cells'][metric]['measured']:,}",
            f"{real['cells'][metric]['predicted']:,}",
            *(f"{real[share]['overall'][metric]:.1%}".rstrip("%") for share in ("median_ape", "p90_ape")),
        ]
        for name, metric in METRIC.items()
    }
    assert f"{real['coverage']:.1%}".rstrip("%") + " % of the cells are predicted" in text


@pytest.mark.parametrize("name", ["TPOT", "TTFT"])
def test_the_page_on_accuracy_has_the_figures_of_every_group_of_servers(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- made: servers -->")[2].partition("<!-- end -->")[0]
    real = validated(capsys, monkeypatch)
    middle, band = (real[share]["by_group"] for share in ("median_ape", "p90_ape"))
    metric = METRIC[name]
    servers = [one for one in middle if one.startswith(("vllm ", "sglang ", "trtllm ")) and metric in middle[one]]
    assert len(servers) > 15
    first, _, second = shown.partition("\nTTFT:\n")
    assert GROUP.findall(first if name == "TPOT" else second) == [
        (one, *(f"{errors[one][metric]:.1%}".rstrip("%") for errors in (middle, band))) for one in servers
    ]


def test_the_readme_repeats_the_page_on_accuracy() -> None:
    row = r"^\| ((?:decode rate|prefill rate|TPOT|TTFT), (?:devices|servers)) \|"
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/accuracy.md"))
    claimed = dict(re.findall(row + r" (.*) \|$", readme, flags=re.MULTILINE))
    assert len(claimed) == 4
    shown = {name: cells.split(" | ") for name, cells in re.findall(row + r" (.*) \|$", page, flags=re.MULTILINE)}
    for name, cells in claimed.items():
        for mine, theirs in zip(cells.split(" | "), shown[name][2:6], strict=True):
            assert abs(float(mine.rstrip(" %")) - float(theirs.rstrip(" %"))) <= 0.5, (name, mine, theirs)


def test_the_pictures_of_accuracy_are_shown_and_tell_what_they_show() -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    pictures = {path.name: path for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert set(re.findall(r"!\[[^\]]+\]\(pictures/(\S+\.svg)\)", text)) == set(pictures)
    for path in pictures.values():
        root = ElementTree.parse(path).getroot()
        told = [root.findtext(f"{{http://www.w3.org/2000/svg}}{tag}") or "" for tag in ("title", "desc")]
        assert all(len(one) > 20 for one in told), path.name
        assert path.stat().st_size < 60_000, f"{path.name} has become large"


@pytest.mark.long
def test_the_page_on_accuracy_is_fresh_held_out_figures_too() -> None:
    done = subprocess.run(
        [sys.executable, "docs/accuracy_page.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
