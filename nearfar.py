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
    nearfar.check_policy("mine.yaml").passed
    nearfar.explain("mine.yaml", request={"task": "chat", "prompt_tokens": 800}, device={"battery": 0.3})

Bad input raises `nearfar.UserError`, whose text says what, got, allowed, next step.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

_HOME = str(Path(__file__).resolve().parent)


def settle(*packages: str) -> None:
    """Import plain top-level packages from beside this file, even when the current folder holds a stranger's `sim/`:
    once they are in sys.modules, their submodules are found through them. Raises `ImportError`."""
    sys.path.insert(0, _HOME)
    try:
        for package in packages:
            module = importlib.import_module(package)
            if Path(str(module.__file__)).resolve().parent.parent != Path(_HOME):
                raise ImportError(
                    f"nearfar's package {package!r} is hidden by {module.__file__}; import nearfar before it, or "
                    "rename it"
                )
    finally:
        sys.path.remove(_HOME)


settle("profiles", "policies", "sim", "scheduler")

from profiles.errors import UserError  # noqa: E402
from sim.version import VERSION as __version__  # noqa: E402

if TYPE_CHECKING:
    from profiles import Catalogue
    from sim.api import Simulation, compare, latency, simulate
    from sim.conforming import check_policy
    from sim.explaining import explain
    from sim.tuning.tune import tune

__all__ = [
    "Catalogue",
    "Simulation",
    "UserError",
    "__version__",
    "check_policy",
    "compare",
    "explain",
    "latency",
    "simulate",
    "tune",
]

_HOMES = {
    "simulate": "sim.api",
    "compare": "sim.api",
    "latency": "sim.api",
    "Simulation": "sim.api",
    "Catalogue": "profiles",
    "tune": "sim.tuning.tune",
    "check_policy": "sim.conforming",
    "explain": "sim.explaining",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: `import nearfar` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nearfar' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
