"""Tables, report and screen of a run with a fleet; what a comparison says of fleets."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

import sim.results.tables as tables
from sim.results.analysis import Analysis
from sim.results.chart_parts import Series
from sim.results.columns import REQUESTS, TIMELINE
from sim.results.comparison_screen import comparison_screen
from sim.results.files import request_table, timeline_table, write_results
from sim.results.fleet_columns import FLEET_REQUESTS, FLEET_TIMELINE
from sim.results.metrics import summarise, summarise_seeds
from sim.results.outcome import Outage, Outcome
from sim.results.report import report_html, workload_sha256
from sim.results.report_charts import line_chart
from sim.results.report_fleet import outages_of
from sim.results.report_fleet_charts import Mark, scatter_chart, stacked_chart, tail_chart
from sim.results.screen import screen
from sim.workloads.workload import Asked
from tests.fleet_small import ALWAYS, DAY, TASKS, cascades, small_fleet, small_outcome, small_policy
from tests.test_fleet_metrics import CHAT, two_pools
from tests.test_report import Page

# -- tables ------------------------------------------------------------------------------------------------------------


def test_the_request_table() -> None:
    table = request_table(small_outcome().plane)
    assert table.column_names == [column.name for column in (*REQUESTS, *FLEET_REQUESTS)]
    diary, chat, lights, photo, _ = table.to_pylist()
    names = ("device", "device_kind", "task", "network", "action", "tier", "pool", "model", "correct", "reached")
    assert [diary[name] for name in names] == [
        0, "phones", "diary", None, "near", "near", None, "tiny", False, "near",
    ]  # fmt: skip
    assert [chat[name] for name in names] == [
        1, "watches", "chat", "air", "cloud", "far", "cloud", "large", True, "cloud",
    ]  # fmt: skip
    assert [lights[name] for name in names] == [
        0, "phones", "lights", "air", "hub", "edge", None, "middle", True, "hub",
    ]  # fmt: skip
    assert [photo[name] for name in names[2:]] == ["photo", *[None] * 7]
    assert (photo["state"], photo["reason"]) == ("failed", "no_target")
    assert (chat["up_bytes"], chat["down_bytes"], chat["device_energy_j"]) == (1000.0, 500.0, pytest.approx(1.5))
    assert (chat["escalated"], chat["throttled"], chat["difficulty"]) == (False, False, 0.0)


def test_actions_of_two_legs_have_names() -> None:
    cascade = small_outcome([CHAT], fleet=cascades(ALWAYS), policy=small_policy(chat="cascade"))
    (row,) = request_table(cascade.plane).to_pylist()
    assert (row["action"], row["escalated"], row["reached"]) == ("cascade:cloud", True, "near + cloud")
    hedge = small_outcome([CHAT], policy=small_policy(chat="hedge"))
    (row,) = request_table(hedge.plane).to_pylist()
    assert row["action"] == "hedge:cloud"


def test_the_timeline_table() -> None:
    table = timeline_table(small_outcome().plane)
    assert table.column_names == [column.name for column in (*TIMELINE, *FLEET_TIMELINE)]
    assert [sum(table[tier].to_pylist()) for tier in ("near", "edge", "far", "none")] == [1, 1, 2, 1]


def test_a_row_group_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROW_GROUP", 2)
    outcome = small_outcome()
    write_results(outcome, tmp_path, summarise(outcome))
    file = pq.ParquetFile(tmp_path / "requests.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 1]
    assert file.read().equals(request_table(outcome.plane))
    columns = [file.metadata.row_group(0).column(i) for i in range(file.metadata.num_columns)]
    coded = {column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings}
    assert coded == set(tables.words_in(file.schema_arrow))


# -- the report --------------------------------------------------------------------------------------------------------


def page_of(outcome: Outcome, **options: Any) -> tuple[str, Page]:
    analysis = Analysis(outcome)
    html = report_html(analysis, summarise(outcome, analysis), **options)
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert not re.search(r"\bnan\b|\binf\b", html)
    return html, page


def test_the_page_of_a_fleet() -> None:
    _, page = page_of(small_outcome())
    tags = [tag for tag, _ in page.tags]
    assert tags.count("svg") == 5 + 4  # as without a fleet; and shares, batteries, heat, quality against cost
    assert not {"script", "link", "img"} & set(tags)
    for words in ("Near or far", "Who answered", "phones", "diary", "by task", "No target could serve: photo (1)"):
        assert words in page.text
    assert "VIOLATED" not in page.text
    _, two = page_of(two_pools())
    assert "edge, 2 × toy" in two.text
    assert "Near or far" not in page_of_none()


def page_of_none() -> str:
    from tests.test_metrics import outcome_of

    return page_of(outcome_of())[1].text


def test_baselines_are_drawn_beside_the_policy() -> None:
    baselines = {
        "near <only>": {"quality_mean": 0.5, "cost_usd_per_1k_requests": 0.0},
        "far": {"quality_mean": 0.9, "cost_usd_per_1k_requests": 200.0},
        "none": {"quality_mean": None, "cost_usd_per_1k_requests": None},
        "by task": {"quality_mean": 0.1, "cost_usd_per_1k_requests": 1.0},  # this very policy
    }
    html, page = page_of(small_outcome(), baselines=baselines)
    assert html.count('class="mark') == 3
    assert "near <only>" in page.text


def test_outages_are_shaded() -> None:
    outcome = replace(small_outcome(), outages=(Outage("cloud", 3.0, 9.0), Outage("cloud", 20.0)))
    assert outages_of(Analysis(outcome)) == [(3.0, 9.0), (20.0, 33.5)]
    html, _ = page_of(outcome)
    assert html.count('class="shade"') == 3 * 2  # requests, in use, shares
    assert 'class="shade"' not in page_of(small_outcome())[0]

    def fails(world: Any) -> Any:
        yield world.timeout(5.0)
        world.pool("cloud").fail(0)

    assert outages_of(Analysis(small_outcome(DAY[:3], controls=[fails]))) == [(5.0, pytest.approx(13.0))]


def test_charts_are_well_formed_svg() -> None:
    t = np.linspace(0.0, 5000.0, 500)
    series = [Series(name, np.arange(500.0) % 7) for name in ("a", "b & c", "d", "e")]
    charts = [
        stacked_chart("shares", t, series, shaded=[(10.0, 900.0)]),
        stacked_chart("nobody", np.zeros(1), [Series("a", np.zeros(1))]),
        tail_chart("tail", np.geomspace(1e-3, 90.0, 5000), "%", "nobody"),
        tail_chart("one", np.array([3.0]), "%", "nobody"),
        tail_chart("nothing", np.zeros(4), "%", "nobody"),
        tail_chart("none", np.zeros(0), "%", "nobody"),
        scatter_chart("points", [Mark("<a>", 0.0, 1.0), Mark("b", 9.0, 0.0)], x_text="$", y_text="right"),
        scatter_chart("none", [], x_text="$", y_text="right"),
        line_chart("down", t, [Series("x", t)], shaded=[(-5.0, 1e9)]),
    ]
    for chart in charts:
        ElementTree.fromstring(chart)
        assert not re.search(r"\bnan\b|\binf\b", chart)


def test_the_digest_of_a_workload_sees_who_asked() -> None:
    workload = small_outcome().plane.workload
    assert isinstance(workload.asked, Asked)
    other = replace(workload.asked, difficulty=workload.asked.difficulty + np.float32(1.0))
    assert workload_sha256(workload) != workload_sha256(replace(workload, asked=other))


# -- screens -----------------------------------------------------------------------------------------------------------


def lines_of(summary: dict[str, Any]) -> list[str]:
    lines = screen(summary).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    return lines


def test_the_screen_of_a_fleet() -> None:
    text = "\n".join(lines_of(summarise(small_outcome())))
    for words in ("OVERLOADED", "near 20.0 %", "75.0 % right", "their task's SLO", "0 violations", "photo 1", "p50"):
        assert words in text
    for words in ("tier near", "device phones", "task diary", "pool cloud", "by task over 2 devices and 1 hub"):
        assert words in text
    assert "pool edge" in "\n".join(lines_of(summarise(two_pools())))


def test_the_screen_fits_whatever_is_in_it() -> None:
    tasks = [replace(TASKS[0], name=f"a task with a long name {i}") for i in range(30)]
    rows = [{**DAY[0], "arrival_s": 3.0 * i, "task": task.name} for i, task in enumerate(tasks)]
    choices = {task.name: "near" for task in tasks}
    outcome = small_outcome(rows, fleet=small_fleet(tasks=tasks), policy=small_policy(tasks, **choices))
    s = summarise(outcome)
    s["pools"] = {f"a pool of some name {i}": s["pools"]["cloud"] for i in range(20)}
    s["notes"] = ["rows sorted by arrival " * 3] * 20
    s["verdict_reason"] = "words " * 300
    s["no_target_by_task"] = {task.name: 12345 for task in tasks}
    lines = lines_of(s | {"seeds": summarise_seeds([s, s | {"seed": 2}])})
    kinds = [line.split()[0] for line in lines if line]
    assert all(kinds.count(kind) >= least for kind, least in (("tier", 1), ("device", 1), ("task", 3), ("pool", 3)))


def test_a_comparison_of_fleets_has_their_rows() -> None:
    from sim.compare import FLEET_METRICS, METRICS

    def variant(name: str, *, fleet: bool) -> dict[str, Any]:
        value = {"mean": 1.0, "low": 0.5, "high": 1.5}
        names = [*METRICS, *(FLEET_METRICS if fleet else ())]
        return {"set": {"policy": name}, "verdicts": ["OK"], **dict.fromkeys(names, value)}

    head = {"scenario": "s", "seeds": [1, 2]}
    with_fleet = comparison_screen(head | {"variants": [variant(name, fleet=True) for name in ("near", "far")]})
    without = comparison_screen(head | {"variants": [variant(name, fleet=False) for name in ("near", "far")]})
    for metric in ("share.near", "quality_mean", "battery_pct_per_day.p99", "egress_bytes_per_request"):
        assert metric in with_fleet
        assert metric not in without
    s = summarise(small_outcome())
    for metric in FLEET_METRICS:
        value: Any = s
        for part in metric.split("."):
            value = value[part]
        assert value is not None
