"""Fit abilities of models to published benchmark scores, write them into the models' records, say how wrong they are.

    python -m sim.calibration.abilities [--folder DIR]

Without `--folder` the shipped records are written anew (the same bytes, unless scores or sizes changed). The line for
models without scores stands in policies/quality.py; a fit that differs from it is told.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np

from policies.quality import MODEL_SPREAD, PER_DECADE
from profiles import Catalogue, UserError
from profiles.files import DATA
from sim.calibration.ability_fit import Data, Fit, Fitted, fit, left_out_scores, prepared
from sim.calibration.ability_scores import BENCHMARK_SCORES, Score, read_scores
from sim.numbers import Floats

__all__ = ["errors_of", "main", "record_text", "write"]

_OURS = re.compile(r"^(?:abilities|  abilities): \{.*\}\n", re.MULTILINE)
_NOTHING_LEFT = re.compile(r"^provenance:\n(?!  )", re.MULTILINE)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="write the records below this folder of profiles")
    args = parser.parse_args()
    try:
        data = prepared(read_scores(BENCHMARK_SCORES), Catalogue())
        found = fit(data)
        written = write((args.folder or DATA) / "models", found, data.scores)
        print(f"{len(written)} models with abilities in {(args.folder or DATA) / 'models'}")
        _tell(data, found)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def write(folder: Path, found: Fit, scores: tuple[Score, ...]) -> tuple[Path, ...]:
    """Write every shipped model that has abilities, or had, into a folder, made if missing; those that have."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted((DATA / "models").glob("*.yaml")):
        before = path.read_text(encoding="utf-8")
        mine = [score for score in scores if score.model == path.stem]
        after = record_text(before, found.models.get(path.stem), mine)
        if path.stem in found.models:
            written.append(folder / path.name)
        if after != before or path.stem in found.models:
            (folder / path.name).write_text(after, encoding="utf-8")
    return tuple(written)


def record_text(text: str, model: Fitted | None, scores: list[Score]) -> str:
    """A model's record with its abilities in place of those that it had; everything else as it was."""
    text = _NOTHING_LEFT.sub("", _OURS.sub("", text))
    if model is None:
        return text
    recalled = sum(score.confidence == "assumed" for score in scores)
    memory = f", {recalled} of them from memory," if recalled else ""
    values = {"general": model.general, **model.skills}
    given = ", ".join(f"{name}: {value:.2f}" for name, value in values.items())
    line = f"abilities: {{{given}, scores: {model.scores}, error: {model.error:.2f}}}\n"
    source = f"fitted to {model.scores} scores{memory} of profiles/data/scores/benchmarks.csv"
    ours = f'  abilities: {{source: "{source}", confidence: fitted}}\n'
    head, heading, entries = text.partition("\nprovenance:\n")
    if heading:
        return f"{head}\n{line}provenance:\n{ours}{entries}"
    return f"{text}{line}provenance:\n{ours}"


def errors_of(predicted: Floats, data: Data) -> Floats:
    """Absolute errors of predicted shares in percentage points, NaN where nothing was predicted."""
    return np.asarray(100.0 * np.abs(predicted - np.array([score.share for score in data.scores])))


def _tell(data: Data, found: Fit) -> None:
    print(f"{len(data.scores)} scores of {len(data.models)} models on {len(data.benchmarks)} benchmarks", end="")
    print(f", {data.at_chance} left out (no better than a guess, or nothing wrong)")
    print(
        f"line: {found.per_decade:.3f} logits per tenfold size (policies/quality.py has {PER_DECADE}), models around "
        f"it {found.model_spread:.2f} (has {MODEL_SPREAD}), skills around a model {found.skill_spread:.2f}, "
        f"noise {found.noise:.2f}"
    )
    labels = ("size alone, each model left out in turn", "size and the model's other scores, each score left out")
    for label, predicted in zip(labels, left_out_scores(data, found), strict=True):
        errors = errors_of(predicted, data)
        known = errors[np.isfinite(errors)]
        print(
            f"{label}: mean error {known.mean():.1f} percentage points, median {np.median(known):.1f}, "
            f"9 of 10 within {np.quantile(known, 0.9):.0f}, of {len(known)} scores"
        )


if __name__ == "__main__":
    main()
