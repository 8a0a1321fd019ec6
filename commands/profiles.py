"""`nearfar profiles`: the facts."""

from __future__ import annotations

from typing import Annotated

import typer

import nearfar
from commands.options import Json, Profiles
from commands.printing import print_json
from nearfar import UserError

__all__ = ["app"]

app = typer.Typer(
    help="The facts: accelerators, models, engine coefficients.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def profiles_list(
    kind: Annotated[str | None, typer.Option(help="Kind of profile: model, device, task, ...")] = None,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Names, confidence and source of the facts."""
    from profiles.screens import list_records, list_screen

    rows = list_records(nearfar.Catalogue(profiles), kind)
    if as_json:
        print_json({"profiles": rows})
    else:
        print(list_screen(rows))


@app.command("show")
def profiles_show(
    name: Annotated[str, typer.Argument(help="Name or alias.")],
    kind: Annotated[str | None, typer.Option(help="Kind of profile: model, device, task, ...")] = None,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """One record with everything that is known about it."""
    from profiles.screens import record_dict, record_screen

    catalogue = nearfar.Catalogue(profiles)
    record = catalogue.find(name, kind)
    if as_json:
        print_json(record_dict(catalogue, record))
    else:
        print(record_screen(catalogue, record))


@app.command("schema")
def profiles_schema(kind: Annotated[str, typer.Argument(help="A kind of profile, or scenario.")]) -> None:
    """JSON Schema of a kind of file, for editors."""
    if kind == "scenario":
        from sim.loading import json_schema as scenario_schema

        print_json(scenario_schema())
        return
    from profiles import KINDS, did_you_mean, json_schema

    if kind not in KINDS:
        raise UserError("no such kind of file", got=kind, next_step=did_you_mean(kind, [*KINDS, "scenario"]))
    print_json(json_schema(kind))
