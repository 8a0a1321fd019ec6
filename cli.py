"""The command line: the door. One command a job; what each parses, calls and prints is in `commands`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

import nearfar
from nearfar import UserError

nearfar.settle("commands")

from commands import models, policies, predicting, profiles, quality, scenarios, simulating  # noqa: E402

app = typer.Typer(
    name="nearfar",
    help="Decide where a language-model request should run, and prove what that decision costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(profiles.app, name="profiles")
app.add_typer(models.app, name="models")
app.add_typer(quality.app, name="quality")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nearfar {nearfar.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Decide where a language-model request should run, and prove what that decision costs."""


app.command()(simulating.simulate)
app.command()(simulating.compare)
app.command()(predicting.latency)
app.command()(scenarios.init)
app.command()(scenarios.check)
app.command("check-policy")(policies.check_policy)
app.command()(policies.explain)
app.command()(policies.tune)
app.command()(predicting.validate)
app.command()(predicting.calibrate)


def _interrupted(number: int, _frame: object) -> None:
    print("nearfar: interrupted; nothing half-written is left behind", file=sys.stderr)
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line. Bad input: one line on stderr, exit code 2. Ctrl-C: exit code 130; ended: 143."""
    before = {number: signal.signal(number, _interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"nearfar: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except MemoryError:
        print("nearfar: error: not enough memory; simulate fewer requests or replicas", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # the reader of stdout went away: `nearfar ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except OSError as error:
        if error.filename is not None:
            told = UserError(f"a file cannot be used: {error.strerror}", got=str(error.filename))
            print(f"nearfar: error: {told}", file=sys.stderr)
            raise SystemExit(2) from None
        print(f"nearfar: error: cannot write the answer: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(2) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
