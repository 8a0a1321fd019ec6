"""`nearfar models`: local models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from commands.options import Json
from commands.printing import print_json, progress, tell

__all__ = ["app"]

app = typer.Typer(
    help="Local models: pull them, list them, find their files.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("pull")
def models_pull(
    model: Annotated[str, typer.Argument(help="A known name, hf:OWNER/REPOSITORY/FILE.gguf, or the path of a file.")],
    name: Annotated[str | None, typer.Option(help="Keep it under this name.")] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the licence's terms without being asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a model's weights, verified, or register a GGUF file that is there. The only command that downloads."""
    from scheduler.models import ModelStore

    result = ModelStore().pull(model, name=name, ask=_terms(accept_terms), progress=progress("bytes"), tell=tell)
    if as_json:
        print_json(asdict(result))
    else:
        print(f"{result.name}: {result.path} ({result.bytes:,} bytes, verified by its {result.verified})")


@app.command("list")
def models_list(as_json: Json = False) -> None:
    """Models that are there, and those that can be pulled by name."""
    from scheduler.models import KNOWN, ModelStore

    store = ModelStore()
    there = store.list()
    missing = sorted(set(KNOWN) - set(store.names()))
    if as_json:
        print_json({"folder": str(store.folder), "models": [asdict(one) for one in there], "known": sorted(KNOWN)})
        return
    for one in there:
        print(f"{one.name:28} {one.architecture:10} {one.bytes / 1e6:10,.0f} MB  {one.licence}")
    print(f"{store.folder}: {len(there)} models" + (f"; to pull by name: {', '.join(missing)}" if missing else ""))


@app.command("path")
def models_path(
    name: Annotated[str, typer.Argument(help="Name of a model.")],
    as_json: Json = False,
) -> None:
    """The file of a model."""
    from scheduler.models import ModelStore

    path = str(ModelStore().path(name))
    if as_json:
        print_json({"name": name, "path": path})
    else:
        print(path)


def _terms(accepted: bool) -> Callable[[Any, str], bool] | None:
    """Asks on the terminal whether terms are accepted; None where nobody can be asked."""
    if not accepted and not sys.stdin.isatty():
        return None

    def ask(terms: Any, text: str) -> bool:
        tell(f"{terms.name}, {terms.url}\n\n{text}")
        if accepted:
            tell("accepted by --accept-terms")
        return accepted or typer.confirm("Do you accept these terms?", err=True)

    return ask
