"""Fit every coefficient again to the measurements that ship, write the records, and say how wrong they are.

    python -m sim.calibration [--folder DIR] [--held-out] [--kernels DIR --model NAME --accelerator NAME]

Without `--folder` the shipped records are written anew (the same bytes, unless facts or formula changed). `--kernels`
prints the coefficients of one card from kernel timings, which do not ship: LLMServingSim publishes such folders.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from profiles import Catalogue, UserError
from profiles.files import DATA
from sim.calibration.near_cells import device_rows
from sim.calibration.near_write import write
from sim.calibration.serving_fit import fit_serving
from sim.calibration.serving_held_out import SERVING_FACTS, errors_of, fitting_rows, leave_one_model_out
from sim.calibration.serving_records import engine_records, write_records
from sim.calibration.tables import read_table
from sim.numbers import Floats


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="write the records below this folder of profiles")
    parser.add_argument("--held-out", action="store_true", help="also fit without each model in turn")
    parser.add_argument("--kernels", type=Path, help="a folder of kernel timings, instead of the measurements")
    parser.add_argument("--model", default="llama-3.1-8b", help="the model of the kernel timings")
    parser.add_argument("--accelerator", help="the card of the kernel timings")
    args = parser.parse_args()
    try:
        if args.kernels:
            kernels(args.kernels, args.model, args.accelerator or args.kernels.resolve().parent.name.split("_")[0])
        else:
            measurements(args.folder or DATA, held_out=args.held_out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def kernels(folder: Path, model: str, accelerator: str) -> None:
    """Print the coefficients of a card, fitted to a folder of its kernel timings."""
    from sim.calibration.kernel_fit import fit_kernels
    from sim.calibration.kernel_timings import read_kernels
    from sim.deployment import deploy

    deployment = deploy(Catalogue(), model=model, accelerator=accelerator)
    print(fit_kernels(read_kernels(folder), deployment).record_text(), end="")


def measurements(folder: Path, *, held_out: bool) -> None:
    """Fit servers and devices, write their records below a folder of profiles, print the errors of the servers."""
    catalogue = Catalogue()
    near = write(folder / "near-runtimes", catalogue, device_rows())
    print(f"{len(near)} records of runtimes on devices in {folder / 'near-runtimes'}")
    chosen = fitting_rows(read_table(SERVING_FACTS), catalogue)
    data = chosen.data
    fit = fit_serving(data.rows, data.tpot_s, data.ttft_s)
    (folder / "engines").mkdir(parents=True, exist_ok=True)
    written = write_records(engine_records(fit, data), folder / "engines")
    print(f"{len(written)} engine records in {folder / 'engines'}, fitted to {len(data.rows)} rows")
    for reason, rows in chosen.left_out.items():
        print(f"  left out: {rows} rows, {reason}")
    _tell("in sample", *fit.predict(data.rows), data.tpot_s, data.ttft_s)
    if held_out:
        _tell("each model left out in turn", *leave_one_model_out(data), data.tpot_s, data.ttft_s)


def _tell(label: str, tpot: Floats, ttft: Floats, measured_tpot: Floats, measured_ttft: Floats) -> None:
    for metric, predicted, measured in (("TPOT", tpot, measured_tpot), ("TTFT", ttft, measured_ttft)):
        middle, band = errors_of(predicted, measured)
        print(f"{label}, {metric}: median {middle:.1%}, 90 % of rows within {band:.1%}")


if __name__ == "__main__":
    main()
