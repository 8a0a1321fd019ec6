"""What was tried so far, on disk: a search that is begun again finds its runs there and goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock

from profiles.errors import UserError

__all__ = ["Journal"]


class Journal:
    """Results by key, one JSON line each; a line that was cut off is left out. Raises `UserError` when unwritable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, dict[str, float]] = {}
        self._lock = Lock()
        if path.exists():
            self._read()
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}", got=str(error.strerror)) from None

    def _read(self) -> None:
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                key, found = json.loads(line)
                self._known[str(key)] = {str(name): float(value) for name, value in found.items()}
            except (ValueError, TypeError, AttributeError):
                continue  # the last line of a run that was killed

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> dict[str, float] | None:
        """What is known under this key."""
        return self._known.get(key)

    def put(self, key: str, found: dict[str, float]) -> None:
        """Remember, here and on disk."""
        with self._lock:
            self._known[key] = found
            self._file.write(json.dumps([key, found]) + "\n")
            self._file.flush()

    def close(self, *, remove: bool = False) -> None:
        """No more is written; `remove` when everything that was wanted is there."""
        self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)
