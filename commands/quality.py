"""`nearfar quality`: correctness learned from the text of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Json
from commands.printing import print_json

__all__ = ["app"]

app = typer.Typer(
    help="Which prompts a target answers right: learned from text.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("fit")
def quality_fit(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="Prompts with correctness: CSV, .gz, Parquet, JSONL.")
    ],
    near: Annotated[str, typer.Option(metavar="COL", help="Correctness of the near target: True/False, or 0 to 1.")],
    far: Annotated[str, typer.Option(metavar="COL", help="Correctness of the far target.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="File to write.")],
    task: Annotated[
        str | None, typer.Option(metavar="COL", help="Category of a prompt: steadies the fit, scoring needs none.")
    ] = None,
    answer_chars: Annotated[
        str | None, typer.Option(metavar="COL", help="Second stage: length of the near answer in characters.")
    ] = None,
    answer: Annotated[str | None, typer.Option(metavar="COL", help="Second stage: text of the near answer.")] = None,
    logprob: Annotated[
        str | None, typer.Option(metavar="COL", help="Second stage: mean log-probability of its tokens.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn from per-prompt tables how likely the near and the far target answer right."""
    from policies.text.fit import AnswerColumns, fit_tables
    from policies.text.screens import fit_screen

    columns = AnswerColumns(chars=answer_chars, answer=answer, logprob=logprob)
    model = fit_tables(tables, near, far, task=task, answers=columns)
    model.save(out)
    if as_json:
        print_json({**model.header, "out": str(out)})
    else:
        print(fit_screen(model.header, str(out)))


@app.command("score")
def quality_score(
    model: Annotated[Path, typer.Argument(help="What nearfar quality fit wrote.")],
    table: Annotated[Path, typer.Argument(help="Prompts: a table with a column named prompt.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV to write: row, score.")],
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Score with the near answer in view: needs the columns of the fit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a score for every prompt: what sending it far is expected to gain; higher means send far."""
    from policies.text.scoring import score_file

    result = score_file(model, table, out, cascade=cascade)
    if as_json:
        print_json(result)
    else:
        print(f"{result['rows']:,} rows written to {result['out']}")
        for note in result["notes"]:
            print(f"note: {note}")


@app.command("evaluate")
def quality_evaluate(
    model: Annotated[Path, typer.Argument(help="What nearfar quality fit wrote.")],
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="Prompts with correctness, other than those of the fit.")
    ],
    near: Annotated[str, typer.Option(metavar="COL", help="Correctness of the near target.")],
    far: Annotated[str, typer.Option(metavar="COL", help="Correctness of the far target.")],
    task: Annotated[
        str | None, typer.Option(metavar="COL", help="Category, for figures within it (default: task, category ...).")
    ] = None,
    as_json: Json = False,
) -> None:
    """How much of the gap between near and far a model's scores recover, beside simple scores, with intervals."""
    from policies.text.evaluate import evaluate
    from policies.text.screens import evaluation_screen

    result = evaluate(model, tables, near, far, task=task)
    if as_json:
        print_json(result)
    else:
        print(evaluation_screen(result))
