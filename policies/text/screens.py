"""What a person sees of a fit and of an evaluation."""

from __future__ import annotations

from typing import Any

__all__ = ["evaluation_screen", "fit_screen"]

_NAMES = {
    "random": "random",
    "prompt_length": "prompt length",
    "category_mean": "category mean",
    "oracle": "oracle",
}


def fit_screen(header: dict[str, Any], path: str) -> str:
    """Rows, the model's figures on rows its folds left out, and what was left out of the fit."""
    fit = header["fit"]
    lines = [
        f"{header['near']} -> {header['far']}: fitted on {fit['rows']:,} prompts, "
        f"right {fit['near_right']:.3f} near, {fit['far_right']:.3f} far",
        f"  on rows its folds left out: APGR {_short(fit['apgr'])} (a constant gives 0.500), "
        f"AUC {fit['auc_near']:.3f} near, {fit['auc_far']:.3f} far, "
        f"ECE {fit['ece_near']:.3f} near, {fit['ece_far']:.3f} far",
    ]
    if header["answer_figures"]:
        lines.append(f"  second stage, for a cascade: reads {', '.join(header['answer_figures'])} of the near answer")
    lines += [f"  {note}" for note in header["notes"]]
    return "\n".join([*lines, f"written to {path}"])


def evaluation_screen(result: dict[str, Any]) -> str:
    """Model and baselines, one line each."""
    lines = [
        f"{result['near']} -> {result['far']}: {result['rows']:,} prompts the model was not fitted on",
        f"{'':22}{'APGR':>24}{'CPT 50 %':>12}{'CPT 80 %':>12}{'AUC near':>12}{'Brier':>9}{'ECE':>9}",
        _line("model", result),
    ]
    if result["within_category"] is not None:
        lines.append(_line("  within categories", result["within_category"]))
    if "cascade" in result:
        lines.append(_line("cascade", result["cascade"]))
        if result["cascade"]["within_category"] is not None:
            lines.append(_line("  within categories", result["cascade"]["within_category"]))
    lines += [_line(_NAMES[name], one) for name, one in result["baselines"].items() if one is not None]
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def _line(name: str, figures: dict[str, Any]) -> str:
    area = figures["apgr"]
    shown = f"{_short(area['value'])} [{_short(area['low'])}, {_short(area['high'])}]"
    cells = [f"{name:22}{shown:>24}"]
    for key, width in (("cpt50", 12), ("cpt80", 12), ("auc", 12), ("brier", 9), ("ece", 9)):
        cells.append(f"{_short(figures[key]['value']) if key in figures else '':>{width}}")
    return "".join(cells).rstrip()


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
