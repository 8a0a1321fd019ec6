"""nearfar for notebooks and programs: the same jobs as the command line, with tables for answers.

    import nearfar

    result = nearfar.simulate("scenario.yaml", requests=10_000)
    result.summary["ttft_s"]["p99"]
    result.requests            # a pyarrow.Table, one row a request; .to_pandas() if you have pandas
    result.timeline            # a pyarrow.Table, one row a time bin
    result.write("out/")

    nearfar.compare("scenario.yaml", vary={"pools.cloud.replicas": [2, 3, 4]})
    nearfar.latency(model="llama-3.1-8b", accelerator="h100", prompt=1000, output=200, batch=32)
    nearfar.tune(["scenario.yaml"], utility="quality=1,e2e_s=-0.02", out="mine.yaml")

Bad input raises `nearfar.UserError`, whose text says what, got, allowed, next step.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The rooms are plain top-level packages. Import them from beside this file, even when the current folder holds a
# stranger's `cli.py` or `sim/`: once they are in sys.modules, their submodules are found through them.
_HOME = str(Path(__file__).resolve().parent)
sys.path.insert(0, _HOME)
try:
    for _room in ("profiles", "policies", "sim", "scheduler"):
        _module = importlib.import_module(_room)
        if Path(str(_module.__file__)).resolve().parent.parent != Path(_HOME):
            raise ImportError(
                f"nearfar's package {_room!r} is hidden by {_module.__file__}; import nearfar before it, or rename it"
            )
finally:
    sys.path.remove(_HOME)

from profiles.errors import UserError  # noqa: E402
from sim.version import VERSION as __version__  # noqa: E402

if TYPE_CHECKING:
    from profiles import Catalogue
    from sim.api import Simulation, compare, latency, simulate
    from sim.tuning.tune import tune

__all__ = ["Catalogue", "Simulation", "UserError", "__version__", "compare", "latency", "simulate", "tune"]

_HOMES = {
    "simulate": "sim.api",
    "compare": "sim.api",
    "latency": "sim.api",
    "Simulation": "sim.api",
    "Catalogue": "profiles",
    "tune": "sim.tuning.tune",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: `import nearfar` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nearfar' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
