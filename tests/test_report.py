"""report.html: valid, self-contained, escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from sim.results.analysis import Analysis
from sim.results.metrics import summarise
from sim.results.outcome import DeploymentFacts, Outcome, Slo
from sim.results.report import report_html, workload_sha256
from sim.results.report_charts import Series, bar_chart, cdf_chart, line_chart
from tests.scenarios import workload_of
from tests.test_metrics import ROOMY, THREE, outcome_of, steady

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "</title><script>alert('1')</script> & \"$title ${verdict}\""


class Page(HTMLParser):
    """Checks that every element is closed in order; collects tags and texts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(outcome: Outcome) -> tuple[str, Page]:
    analysis = Analysis(outcome)
    html = report_html(analysis, summarise(outcome, analysis))
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return html, page


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    html, page = page_of(outcome_of(steady(20, patience=2.0), slo=Slo(ttft_s=0.1, e2e_s=3.0), warmup_s=1.0, **ROOMY))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("svg") == 5  # requests, in use, two distributions, losses
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not re.search(r"https?://|url\(|@import", html)
    assert "prefers-color-scheme: dark" in html
    assert html.index('class="verdict') < html.index("<h2>")
    for word in ("OVERLOADED", "Binding constraint: max_num_seqs", "SHA-256", "flow conservation", "SLO 100 ms"):
        assert word in page.text
    assert "VIOLATED" not in page.text
    assert not re.search(r"\bnan\b", html)
    assert "$" not in re.sub(r"\$[\d,.]+", "", page.text)  # every placeholder was filled


def test_hostile_texts_are_escaped() -> None:
    facts = DeploymentFacts(
        name=HOSTILE, accelerators_per_replica=1, price_usd_per_hour=1.0, idle_w=0.0, pue=1.0, confidence=HOSTILE,
        assumed=(HOSTILE,),
    )  # fmt: skip
    outcome = replace(outcome_of(facts=facts), scenario={"name": HOSTILE, "pools": {HOSTILE: {"x": HOSTILE}}})
    html, page = page_of(outcome)
    assert "<script" not in html
    assert not any(tag == "script" for tag, _ in page.tags)
    assert HOSTILE in page.text


@pytest.mark.parametrize(
    "rows",
    [
        [{"arrival_s": 0.0, "prompt": 2000}],  # nothing ever happens
        [{"arrival_s": 0.0, "prompt": 4, "output": 1}],
        [{"arrival_s": 0.0, "prompt": 4, "output": 9, "patience": 0.5}],
        [{"arrival_s": 1e7, "prompt": 4, "output": 9}],
    ],
)
def test_small_and_odd_runs_have_a_page(rows: Any) -> None:
    html, page = page_of(outcome_of(rows, slo=Slo(ttft_s=0.5, tpot_s=0.5, e2e_s=0.5)))
    assert not re.search(r"\bnan\b", html)
    assert page.text.count("VIOLATED") == 0


def test_the_digest_of_a_workload_sees_every_request() -> None:
    one = workload_of(THREE)
    assert workload_sha256(one) == workload_sha256(workload_of(THREE))
    assert workload_sha256(one) != workload_sha256(workload_of([*THREE[:2], {**THREE[2], "priority": 1}]))


def test_charts_are_well_formed_svg() -> None:
    t = np.linspace(0.0, 5000.0, 40)
    charts = [
        line_chart("a < b", t, [Series("x & y", np.sin(t) + 1), Series("z", 0 * t), Series("w", t)]),
        line_chart("zero", np.array([0.0]), [Series("x", np.zeros(1))], shares=True),
        cdf_chart("latency", np.geomspace(1e-3, 50.0, 500), 2.0),
        cdf_chart("same", np.full(3, 0.25)),
        cdf_chart("zero", np.zeros(3)),
        cdf_chart("nobody", np.zeros(0)),
        bar_chart("lost", [("queue full", 12), ("<patience>", 1)]),
        bar_chart("nothing", []),
    ]
    for chart in charts:
        ElementTree.fromstring(chart)
        assert not re.search(r"\bnan\b", chart)


def test_a_curve_ends_where_its_data_end() -> None:
    chart = line_chart("up", np.array([0.0, 10.0]), [Series("x", np.array([0.0, 5.0]))])
    assert re.search(r'd="M46\.0 204\.0L470\.0 10\.0"', chart)
