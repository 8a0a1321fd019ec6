"""What the scripts that make pages share: filling blocks of a page, and writing files or saying which are stale."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["DOCS", "block_names", "refilled", "write_or_check"]

DOCS = Path(__file__).resolve().parent
_MADE = re.compile(r"(<!-- made: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def block_names(text: str) -> list[str]:
    """The blocks of a page that are made, in their order."""
    return [match["name"] for match in _MADE.finditer(text)]


def refilled(text: str, blocks: Mapping[str, str]) -> str:
    """A page with its blocks as they are now."""
    return _MADE.sub(lambda match: f"{match[1]}\n{blocks[match['name']]}\n{match[3]}", text)


def write_or_check(files: Mapping[Path, str], script: str) -> int:
    """Write the files that changed; with `--check` among the words only name them, and return 1 when there is one."""
    stale = {
        path: text for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    names = ", ".join(str(path.relative_to(DOCS.parent)) for path in stale)
    if "--check" in sys.argv[1:]:
        if stale:
            print(f"stale: {names}; run python docs/{script}", file=sys.stderr)
        return min(len(stale), 1)
    for path, text in stale.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"written: {names}" if stale else "nothing to do")
    return 0
