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
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}", got=str(error.strerror)) from None
        self._read(text)
        if text and not text.endswith("\n"):
            self._file.write("\n")  # what was cut off must not spoil what comes next

    def _read(self, text: str) -> None:
        for line in text.splitlines():
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
