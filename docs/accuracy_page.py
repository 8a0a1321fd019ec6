"""The tables of docs/accuracy.md and its pictures, from the measurements that ship with nearfar.

    python docs/accuracy_page.py            write them (a minute: every model is left out once)
    python docs/accuracy_page.py --check    exit code 1, and the names of the stale ones

The text of the page is written by hand, in the page. What stands between `<!-- made: NAME -->` and `<!-- end -->` is
made here.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from accuracy_figures import HeldOut, Point, errors, held_out, left_out_rows, points, quantiles
from accuracy_pictures import MOST_DOTS, Bar, Dot, bars, scatter
from made_pages import DOCS, block_names, refilled, write_or_check

from profiles import CONFIDENCES, Catalogue
from sim.validation import METRICS, Validation, validate_shipped

PAGE = DOCS / "accuracy.md"
PICTURES = DOCS / "pictures"

NAMES = {"decode_tok_s": "decode rate", "prefill_tok_s": "prefill rate", "tpot_ms": "TPOT", "ttft_ms": "TTFT"}
UNITS = {"decode_tok_s": "tokens/s", "prefill_tok_s": "tokens/s", "tpot_ms": "ms", "ttft_ms": "ms"}
SIDES = (
    ("device", "decode_tok_s"), ("device", "prefill_tok_s"), ("device", "ttft_ms"),
    ("serving", "tpot_ms"), ("serving", "ttft_ms"),
)  # fmt: skip
WHERE = {"device": "devices", "serving": "servers"}
FEW = 3  # cells from which on a chip has a line of its own
PICTURED = 5  # and one in the picture


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def share(error: float) -> str:
    return f"{error:.1%}".replace("%", " %")


def both(found: Sequence[float]) -> list[str]:
    return [share(one) for one in quantiles(found)] if found else ["-", "-"]


def of(found: Sequence[Point], side: str, metric: str) -> list[Point]:
    return [point for point in found if point.place[0] == side and point.metric == metric]


def grouped(found: Sequence[Point]) -> Mapping[str, list[Point]]:
    groups: dict[str, list[Point]] = defaultdict(list)
    for point in found:
        groups[point.group].append(point)
    return dict(sorted(groups.items()))


# -- tables ------------------------------------------------------------------------------------------------------------


def overall(result: Validation) -> str:
    counts = result.to_json()["cells"]
    rows = [
        [
            NAMES[metric],
            f"{counts[metric]['measured']:,}",
            f"{counts[metric]['predicted']:,}",
            *both([cell.error for cell in result.covered if cell.metric == metric]),
        ]
        for metric in METRICS
    ]
    return table(("in sample", "cells", "predicted", "median", "90 % within"), rows)


def held_out_table(found: Sequence[Point], models: HeldOut, quarters: HeldOut) -> str:
    rows = []
    for side, metric in SIDES:
        mine = [point for point in of(found, side, metric) if point.place in models]
        parts = [*both(errors(mine)), *both(errors(mine, models)), *both(errors(mine, quarters))]
        names = len({point.model for point in mine})
        rows.append([f"{NAMES[metric]}, {WHERE[side]}", f"{len(mine):,}", str(names), *parts])
    heads = (
        "", "cells", "models", "in sample: median", "90 % within", "without the model: median", "90 % within",
        "without a quarter of the rows: median", "90 % within",
    )  # fmt: skip
    return table(heads, rows)


def group_table(found: Sequence[Point], models: HeldOut, *, fewest: int) -> str:
    rows, rest = [], list[Point]()
    for group, mine in grouped(found).items():
        if len(mine) < fewest:
            rest += mine
        else:
            rows.append(_group_row(group, mine, models))
    if rest:
        rows.append(_group_row(f"{len(grouped(rest))} others, fewer than {fewest} cells each", rest, models))
    heads = ("group", "cells", "models", "median", "90 % within", "without the model: median", "90 % within")
    return table(heads, rows)


def _group_row(name: str, mine: Sequence[Point], models: HeldOut) -> list[str]:
    known = len({point.model for point in mine})
    return [name, f"{len(mine):,}", str(known), *both(errors(mine)), *both(errors(mine, models))]


def groups(found: Sequence[Point], models: HeldOut, side: str) -> str:
    fewest = FEW if side == "device" else 1
    parts = [
        f"{NAMES[metric]}:\n\n{group_table(of(found, side, metric), models, fewest=fewest)}"
        for where, metric in SIDES
        if where == side
    ]
    return "\n".join(parts)


def confidence(found: Sequence[Point]) -> str:
    rows = []
    for level in CONFIDENCES:
        for side, metric in SIDES:
            if mine := [point for point in of(found, side, metric) if point.confidence == level]:
                rows.append([f"{level}, {NAMES[metric]}, {WHERE[side]}", f"{len(mine):,}", *both(errors(mine))])
    return table(("confidence of the prediction", "cells", "median", "90 % within"), rows)


def left_out(catalogue: Catalogue) -> str:
    rows = [[f"{reason} ({where})", str(count)] for where, reason, count in left_out_rows(catalogue)]
    return table(("why", "rows"), rows)


def coverage(result: Validation) -> str:
    lines = [f"{result.coverage:.1%} of the cells are predicted. Not predicted:\n".replace("%", " %", 1)]
    lines += [f"- {count} cells: {reason}" for reason, count in result.uncovered.items()]
    return "\n".join(lines) + "\n"


# -- pictures ----------------------------------------------------------------------------------------------------------


def pictures(found: Sequence[Point], models: HeldOut) -> dict[str, str]:
    """File name to SVG."""
    made = {}
    for metric, name in NAMES.items():
        mine = [point for point in found if point.metric == metric]
        panels = [
            ("in sample", [Dot(p.family, p.measured, p.predicted) for p in mine]),
            (
                "without any row of the model",
                [Dot(p.family, p.measured, models[p.place]) for p in mine if p.place in models],
            ),
        ]
        title = f"{name[0].upper()}{name[1:]}: predicted against measured"
        made[f"{name.replace(' ', '-').lower()}.svg"] = scatter(title, UNITS[metric], panels)
    sections = [
        (f"{NAMES[metric]}, {WHERE[side]} (cells)", _bars(of(found, side, metric), models))
        for side, metric in SIDES
        if metric != "prefill_tok_s"
    ]
    return made | {"errors-by-group.svg": bars("Errors by group: median and 90th percentile", sections)}


def _bars(found: Sequence[Point], models: HeldOut) -> list[Bar]:
    return [
        Bar(group, len(mine), quantiles(errors(mine)), quantiles(errors(mine, models)))
        for group, mine in grouped(found).items()
        if len(mine) >= PICTURED and len(errors(mine, models)) >= PICTURED
    ]


def shown(names: Sequence[str]) -> str:
    """The pictures as Markdown."""
    alt = {
        "errors-by-group.svg": "Median and 90th percentile of the error for every group, in sample and held out",
        **{
            f"{name.replace(' ', '-').lower()}.svg": f"{name[0].upper()}{name[1:]}, predicted against measured on "
            "logarithmic axes: in sample on the left, without any row of the model on the right"
            for name in NAMES.values()
        },
    }
    lines = [f"![{alt[name]}](pictures/{name})\n" for name in names]
    note = f"Of more than {MOST_DOTS} values a panel shows evenly many of every size of error, the largest among them."
    return "\n".join([*lines, note]) + "\n"


# -- all ---------------------------------------------------------------------------------------------------------------


def files() -> dict[Path, str]:
    """The page and its pictures, by path."""
    catalogue = Catalogue()
    result = validate_shipped(catalogue)
    found = points(result, catalogue)
    models, quarters = held_out(catalogue)
    drawn = pictures(found, models)
    blocks = {
        "overall": overall(result),
        "held-out": held_out_table(found, models, quarters),
        "pictures": shown([name for name in drawn if name != "errors-by-group.svg"]),
        "groups-picture": shown(["errors-by-group.svg"]).partition("\n")[0] + "\n",
        "servers": groups(found, models, "serving"),
        "devices": groups(found, models, "device"),
        "confidence": confidence(found),
        "left-out": left_out(catalogue),
        "coverage": coverage(result),
    }
    text = PAGE.read_text(encoding="utf-8")
    if (asked := set(block_names(text))) != set(blocks):
        raise SystemExit(f"docs/accuracy.md must hold each of these blocks once: {sorted(asked ^ set(blocks))}")
    return {PAGE: refilled(text, blocks)} | {PICTURES / name: svg for name, svg in drawn.items()}


def main() -> int:
    """Write the files, or only compare them. 1 when one is stale."""
    return write_or_check(files(), "accuracy_page.py")


if __name__ == "__main__":
    sys.exit(main())
