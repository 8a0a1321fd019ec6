"""The kernels' cache: one folder a version of the sources, somewhere that can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from policies import compiled

ROOT = Path(__file__).parents[1]


def test_the_folder_changes_with_any_kernel_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = compiled._sources_digest(compiled._FOLDERS)
    for folder in ("policies", "sim/kernels"):
        (tmp_path / folder).mkdir(parents=True)
        for path in (ROOT / folder).glob("*.py"):
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(compiled, "_ROOT", tmp_path)
    assert compiled._sources_digest(compiled._FOLDERS) == before
    seen = {before}
    for name in ("sim/kernels/heap.py", "policies/features.py"):
        path = tmp_path / name
        path.write_text(path.read_text() + "\n# changed\n")
        seen.add(compiled._sources_digest(compiled._FOLDERS))
    (tmp_path / "policies" / "another.py").write_text("# new\n")
    seen.add(compiled._sources_digest(compiled._FOLDERS))
    assert len(seen) == 4


def test_it_follows_the_variable_and_falls_back_when_it_cannot_be_written(tmp_path: Path) -> None:
    a_file = tmp_path / "file"
    a_file.write_text("")
    code = "from policies import compiled; print(compiled.cache_folder)"

    def folder(cache: Path) -> Path:
        environment = os.environ | {"NEARFAR_CACHE_DIR": str(cache), "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return Path(done.stdout.strip())

    assert folder(tmp_path / "cache").parent == tmp_path / "cache"
    fallback = folder(a_file / "below")
    assert fallback.is_dir()
    assert tmp_path in fallback.parents


def test_other_peoples_functions_keep_their_own_cache() -> None:
    from numba.core import config

    assert str(compiled.cache_folder) != config.CACHE_DIR
    assert str(compiled.cache_folder) != numba.config.CACHE_DIR


def test_kernels_in_a_folder_of_their_own_change_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("policies", "policies/text", "sim/kernels"):
        (tmp_path / folder).mkdir(parents=True)
        for path in (ROOT / folder).glob("*.py"):
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(compiled, "_ROOT", tmp_path)
    main, text = (compiled._sources_digest(folders) for folders in (compiled._FOLDERS, ("policies/text",)))
    kernels = tmp_path / "policies" / "text" / "kernels.py"
    kernels.write_text(kernels.read_text() + "\n# changed\n")
    assert compiled._sources_digest(compiled._FOLDERS) == main
    assert compiled._sources_digest(("policies/text",)) != text
