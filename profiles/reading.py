"""Reading one YAML file: fast, strict, and with messages that name the file and the line."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .errors import UserError

__all__ = ["load_mapping", "load_value"]

if TYPE_CHECKING:
    _Base = yaml.SafeLoader
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """A safe loader that refuses a key given twice, and reads `1e12` as the number that it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 wants a dot and a sign in an exponent; everybody writes 1e12.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load_mapping(path: Path, where: str) -> dict[str, Any]:
    """The mapping in a YAML file; `where` is how messages call the file.

    Raises UserError when the file cannot be read, is no YAML, gives a key twice, or holds something else.
    """
    try:
        # C accelerated where PyYAML was built with libyaml; safe either way.
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not UTF-8 text (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        got = type(data).__name__ if data is not None else "nothing"
        raise UserError(f"{where}: must hold one mapping of fields to values", got=got)
    return data


def load_value(text: str, where: str) -> Any:
    """One YAML value, read as strictly as a file. Raises UserError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise UserError(f"{where}: {problem}", got=text) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid YAML: {error}", got=text) from None
