"""An explanation for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["explanation_screen"]

_LEFT = 20
_CELL = 22
_ABREAST = 3  # actions side by side


def explanation_screen(found: Mapping[str, Any]) -> str:
    """What was asked, every possible action with every feature, what is ruled out, and what would turn the choice."""
    actions = found["actions"]
    names = {action["index"]: action["name"] for action in actions}
    lines = [_line("policy", f"{found['policy']}, layout {found['layout']}"), *_asked(found), ""]
    for first in range(0, len(actions), _ABREAST):
        lines += [*_table(actions[first : first + _ABREAST], found["chosen"]), ""]
    lines += _impossible(found["ruled_out"])
    lines.append(_line("chosen", _verdict(found, names)))
    lines += [_line("to turn it" if not i else "", text) for i, text in enumerate(_turns(found))]
    lines += [_line("note", note) for note in found["notes"]]
    return "\n".join(lines)


def _impossible(ruled_out: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is not possible and by which masks; then what these masks mean."""
    lines = [_line(f"not {one['name']}", ", ".join(mask["name"] for mask in one["masks"])) for one in ruled_out]
    meanings = {mask["name"]: mask["meaning"] for one in ruled_out for mask in one["masks"]}
    return [*lines, *(_line("", f"{name}: {meaning}") for name, meaning in meanings.items())]


def _line(label: str, text: str) -> str:
    return f"{label:<{_LEFT}}{text}" if len(label) < _LEFT else f"{label} {text}"


def _asked(found: Mapping[str, Any]) -> list[str]:
    request, device = found["request"], found["device"]
    flags = [name if device[name] else f"not {name}" for name in ("metered", "charging", "loaded")]
    flags.append("a hub at home" if device["hub"] else "no hub")
    loads = ", ".join(f"{name} {load:g}" for name, load in found["loads"].items())
    return [
        _line(
            "request",
            f"{request['task']} (privacy {request['privacy']}), {request['prompt_tokens']:,} prompt and "
            f"{request['output_tokens']:,} output tokens, difficulty {request['difficulty']:g}",
        ),
        _line(
            "device",
            f"{device['group']}: battery {device['battery']:g}, heat {device['heat']:.2g}, {device['network']}, "
            + ", ".join(flags),
        ),
        _line("scenario", f"{found['scenario']}, seed {found['seed']}; load of pools: {loads}"),
    ]


def _table(actions: Sequence[Mapping[str, Any]], chosen: int | None) -> list[str]:
    """Features down, actions across: value and contribution."""
    heads = [f"{one['name']}{' *' if one['index'] == chosen else ''}" for one in actions]
    lines = [
        f"{'':<{_LEFT}}{'':>4}{'weight':>10}" + "".join(f"{head:>{_CELL}}" for head in heads),
        f"{'feature':<{_LEFT}}{'':>4}{'':>10}" + "".join(f"{'value':>10}{'adds':>12}" for _ in heads),
    ]
    for row in zip(*(one["features"] for one in actions), strict=True):
        weight = row[0]["weight"]
        cells = "".join(f"{_number(one['value']):>10}{_signed(one['contribution'], weight):>12}" for one in row)
        lines.append(f"{row[0]['name']:<{_LEFT}}{row[0]['unit']:>4}{_number(weight) if weight else '-':>10}{cells}")
    lines.append(
        f"{'scene':<{_LEFT}}{'':>14}" + "".join(f"{_signed(one['scene'], one['scene']):>{_CELL}}" for one in actions)
    )
    lines.append(f"{'score':<{_LEFT}}{'':>14}" + "".join(f"{_number(one['score'], 7):>{_CELL}}" for one in actions))
    return lines


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if value else "0"


def _signed(value: float, weight: float) -> str:
    return (f"{value:+.4g}" if value else "0") if weight else "-"


def _verdict(found: Mapping[str, Any], names: Mapping[int, str]) -> str:
    if found["chosen"] is None:
        return "nothing is possible: the request fails (no_target)"
    chosen = names[found["chosen"]]
    if found["runner_up"] is None:
        return f"{chosen}, the only one that is possible"
    if found["margin"] == 0.0:
        return f"{chosen}, level with {names[found['runner_up']]}: the first of equals wins"
    return f"{chosen}, {_number(found['margin'])} ahead of {names[found['runner_up']]}"


def _turns(found: Mapping[str, Any]) -> list[str]:
    """One line a change; what no change within its limits can do is said as well."""
    lines = []
    for rival in dict.fromkeys(turn["rival"] for turn in found["turning"]):
        turns = [turn for turn in found["turning"] if turn["rival"] == rival]
        able = [turn for turn in turns if turn["possible"]]
        lines.append(f"{rival} is {_number(turns[0]['margin'])} behind; it would be ahead with")
        lines += [
            f"  {turn['feature']} of {turn['action']} {_change(turn)}: {_number(turn['to'])} instead of "
            f"{_number(turn['from'])}"
            for turn in able
        ]
        if not able:
            lines[-1] = f"{rival} is {_number(turns[0]['margin'])} behind: no feature alone could make up for it"
    return lines


def _change(turn: Mapping[str, Any]) -> str:
    unit = f" {turn['unit']}" if turn["unit"] else ""
    return f"{_number(abs(turn['change']))}{unit} {'more' if turn['change'] > 0 else 'less'}"
