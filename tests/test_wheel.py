"""The wheel: complete, without tests, and at home in folders that hold a stranger's modules of the same names."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STRANGER = "raise SystemExit('a stranger was imported')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(ROOT),
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(folder),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (packed,) = folder.glob("*.whl")
    unpacked = folder / "unpacked"
    zipfile.ZipFile(packed).extractall(unpacked)
    return unpacked


def run(wheel: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the console script does: the script's own folder on the path, not the current one."""
    script = wheel / "bin" / "nearfar"
    script.parent.mkdir(exist_ok=True)
    script.write_text("import sys\nfrom cli import main\nsys.exit(main())\n")
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_it_holds_the_rooms_and_their_data_and_no_tests(wheel: Path) -> None:
    top = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")} - {"bin"}
    assert top == {"cli.py", "nearfar.py", "profiles", "policies", "sim", "scheduler", "commands"}
    assert (wheel / "sim" / "data" / "default.yaml").exists()
    assert list((wheel / "profiles" / "data").rglob("h100.yaml"))
    assert (wheel / "policies" / "builtin" / "near.yaml").exists()
    assert (wheel / "sim" / "py.typed").exists()


def test_it_works_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    done = run(wheel, tmp_path, "simulate", "--requests", "100", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_it_works_beside_strangers(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text(STRANGER)
    for room in ("scheduler", "sim", "commands"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(STRANGER)
    assert run(wheel, tmp_path, "simulate", "--requests", "100").returncode == 0
    code = f"import nearfar; assert nearfar.__file__.startswith({str(wheel)!r}); nearfar.simulate(requests=50)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_door_finds_its_commands_beside_strangers(wheel: Path, tmp_path: Path) -> None:
    """Python puts the current folder first for `-c` and `-m`; only a stranger's `cli.py` could stand before ours."""
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "__init__.py").write_text(STRANGER)
    done = subprocess.run(
        [sys.executable, "-c", "import cli; cli.main()", "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "simulate" in done.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, nearfar; print([m for m in ('numba', 'pyarrow', 'pydantic', 'simpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_names_the_command() -> None:
    from profiles.errors import UserError
    from scheduler import require_live

    with pytest.raises(UserError, match=r"pip install 'nearfar\[live\]'"):
        require_live("no_such_module_of_ray")
    require_live("json")
