"""What every benchmark record says about where it was made."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np

from sim.version import VERSION

__all__ = ["emit", "median_of"]


def emit(name: str, figures: dict[str, Any], out: Path | None) -> None:
    """Print the record, and write it to `out` if given."""
    record = {
        "benchmark": name,
        "figures": figures,
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "numba": numba.__version__,
            "numpy": np.__version__,
            "nearfar": VERSION,
        },
    }
    text = json.dumps(record, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.flush()


def median_of(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum of repeated timings."""
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}
