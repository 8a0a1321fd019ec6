"""`nearfar init` and `nearfar check`: writing a scenario, and looking it over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Json, Requests, Seed, Set, TimeScale, Trace
from commands.printing import print_json
from nearfar import UserError

__all__ = ["check", "init"]


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option(help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a commented scenario to start from."""
    from sim.loading import template

    if path.exists() and not force:
        raise UserError("a file is there already", got=str(path), next_step="give another name, or --force")
    try:
        path.write_text(template().replace("{file}", path.name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", next_step="give another path") from None
    print(f"written: {path}; run it with: nearfar simulate {path}")


def check(
    scenario: Annotated[str, typer.Argument(help="Scenario file.")],
    trace: Trace = None,
    requests: Requests = None,
    time_scale: TimeScale = None,
    seed: Seed = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Check a scenario without running it: names, memory, workload, files."""
    from sim.check import check_scenario, check_screen
    from sim.loading import parse_changes

    result = check_scenario(
        scenario, changes=parse_changes(set_ or []), trace=trace, requests=requests, time_scale=time_scale, seed=seed
    )
    if as_json:
        print_json(result)
    else:
        print(check_screen(result))
