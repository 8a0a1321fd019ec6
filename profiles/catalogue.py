"""Finding facts by name: what nearfar ships, and a user's folder on top of it.

    catalogue = Catalogue(Path("my-profiles"))
    catalogue.accelerator("NVIDIA H100 80GB HBM3").bandwidth_gb_s
    catalogue.engine("vllm", "rtx-4090").name                  # vllm-rtx-4090

Names are compared without case, and `_`, space and `-` are one character. An exact name goes before an alias,
and a user's record before a built-in one. Nothing is read before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .accelerator import Accelerator
from .device import Device
from .engine import EngineCoefficients
from .errors import UserError, did_you_mean
from .extending import extend
from .files import DATA, LIST, File, normalise, unknown, yaml_files
from .model import Model
from .near_runtime import ANY_FAMILY, NearRuntime
from .network import Network
from .reading import load_mapping
from .record import Record
from .schema import KINDS, kinds_of, parse, record_class
from .soc import EngineKind, Soc, soc_keys
from .task import Task
from .technique import Technique

__all__ = ["Catalogue", "normalise"]

_R = TypeVar("_R", bound=Record)


class Catalogue:
    """Every profile there is: the built-in ones and those of a user's folder, which go first.

    A user's folder may have any layout: every *.yaml and *.yml below it is a profile, and its `kind` tells
    which. A record there may shadow a built-in name, and may extend the very record that it shadows; built-in
    records themselves extend built-in ones only, so a shadow never changes another record silently.

    Raises UserError for a folder that does not exist. Problems inside files are told when they are read.
    """

    def __init__(self, user_folder: Path | None = None) -> None:
        if user_folder is not None and not Path(user_folder).is_dir():
            raise UserError("the folder of profiles does not exist or is no folder", got=str(user_folder))
        self._folder = Path(user_folder) if user_folder is not None else None
        self._raw: dict[Path, dict[str, Any]] = {}
        self._records: dict[File, Record] = {}

    def accelerator(self, name: str) -> Accelerator:
        """An accelerator by name or alias. Raises UserError, with the nearest known name, for none."""
        return self._get(Accelerator, "accelerator", name)

    def model(self, name: str) -> Model:
        """A model by name or alias. Raises UserError, with the nearest known name, for none."""
        return self._get(Model, "model", name)

    def device(self, name: str) -> Device:
        """A device by name or alias. Raises UserError, with the nearest known name, for none."""
        return self._get(Device, "device", name)

    def network(self, name: str) -> Network:
        """A network by name or alias. Raises UserError, with the nearest known name, for none."""
        return self._get(Network, "network", name)

    def task(self, name: str) -> Task:
        """A task by name or alias. Raises UserError, with the nearest known name, for none."""
        return self._get(Task, "task", name)

    def technique(self, name: str) -> Technique:
        """A technique by name or alias. Raises UserError, with the nearest known name, for none."""
        return self._get(Technique, "technique", name)

    def soc(self, name: str) -> Soc:
        """A chip by name, alias, or as tables of measurements spell it: `Snapdragon 8 Elite (SM8750)`.

        Raises UserError, with the nearest known name, for none.
        """
        if self._locate("soc", name) is not None:
            return self._get(Soc, "soc", name)
        for key in soc_keys(name):
            if key in self._spelt:
                return self._spelt[key]
        raise unknown("soc", name, {*self.names("soc"), *(one for soc in self._socs() for one in soc.spellings)})

    def near_runtime(self, family: str, engine: EngineKind) -> NearRuntime | None:
        """The coefficients of a runtime's family on a kind of engine, a user's before built-in ones; None for none.

        The family `*` is the general level, which every kind of engine has.
        """
        found = [one for one in self._near_runtimes if (one.family, one.engine) == (family, engine)]
        if not found and family == ANY_FAMILY:
            raise UserError("no coefficients for this kind of engine", got=engine)
        return min(found, key=lambda one: self._file_of(one).builtin, default=None)

    def engine(self, name_or_runtime: str, accelerator: str, precision: str | None = None) -> EngineCoefficients:
        """The most specific coefficients of a runtime for an accelerator and weights; the name tells which.

        A record that lists the accelerator goes before one for `*`, then a user's before a built-in one, then one that
        lists the precision before one for any (one for other precisions never fits), then a short list before a long
        one. An accelerator that no record lists has those of the one that it extends. The name of one record asks for
        it whatever the accelerator.

        Raises UserError for an unknown runtime or accelerator, and when no record fits.
        """
        wanted = self.accelerator(accelerator)
        runtime = normalise(name_or_runtime)
        family = [one for one in self._engines if normalise(one.runtime) == runtime]
        if not family:
            if self._locate("engine", name_or_runtime) is None:
                known = {*self.names("engine"), *(one.runtime for one in self._engines)}
                raise unknown("engine", name_or_runtime, known)
            return self._get(EngineCoefficients, "engine", name_or_runtime)
        fitting = [one for one in family if not one.precisions or precision in one.precisions]

        def rank(one: EngineCoefficients) -> tuple[bool, bool, int]:
            return self._file_of(one).builtin, not one.precisions, len(one.accelerators)

        for name in self._lineage(wanted):
            if listing := [one for one in fitting if self._lists(one, name)]:
                return min(listing, key=rank)
        if general := [one for one in fitting if one.generic]:
            return min(general, key=rank)
        raise UserError(
            f"no coefficients of engine {name_or_runtime!r} for this accelerator",
            got=wanted.name if precision is None else f"{wanted.name}, {precision}",
            allowed=", ".join(sorted({name for one in family for name in one.accelerators})),
            next_step="add a profile of kind engine that lists it, or '*'",
        )

    def find(self, name: str, kind: str | None = None) -> Record:
        """A record of any kind by name or alias. Raises UserError for none, or for several kinds."""
        kinds = kinds_of(kind)
        found = [(k, file) for k in kinds if (file := self._locate(k, name)) is not None]
        if len(found) > 1:
            raise UserError("several kinds of profile have this name", got=name, allowed=", ".join(k for k, _ in found))
        if not found:
            known = {one for k in kinds for one in self.names(k)}
            raise unknown(kind or "profile", name, known)
        return self._record(found[0][1])

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of a kind, sorted, without aliases. Raises UserError for a kind that does not exist."""
        record_class(kind)
        user = {key: str(self._load(file)["name"]) for key, file in self._user[kind].items()}
        builtin = {key: file.path.stem for key, file in self._builtin[kind].items()}
        return tuple(sorted((builtin | user).values()))

    def records(self, kind: str | None = None) -> tuple[Record, ...]:
        """Every record, or every record of a kind, read and validated, in the order of their names."""
        return tuple(self.find(name, k) for k in kinds_of(kind) for name in self.names(k))

    def origin(self, record: Record) -> str:
        """Where a record of this catalogue was read: `built-in` or the path of the user's file."""
        file = self._file_of(record)
        return "built-in" if file.builtin else str(file.path)

    # Files: which there are, and what they are called.

    @cached_property
    def _builtin(self) -> dict[str, dict[str, File]]:
        """Built-in files by kind and normalised name. A stem is its record's name: none has to be read."""
        return {
            kind: {
                normalise(path.stem): File(path, f"profiles/data/{kind}s/{path.name}", True)
                for path in sorted((DATA / f"{kind}s").glob("*.yaml"))
            }
            for kind in KINDS
        }

    @cached_property
    def _user(self) -> dict[str, dict[str, File]]:
        """The user's files by kind and normalised name; all are read, for only `kind` and `name` tell."""
        found: dict[str, dict[str, File]] = {kind: {} for kind in KINDS}
        for path in sorted(yaml_files(self._folder)):
            file = File(path, str(path), False)
            data = self._load(file)
            record_class(data.get("kind"), file.where)
            name = data.get("name")
            if not isinstance(name, str) or not normalise(name):
                raise UserError(
                    f"{file.where}: name: every profile needs one",
                    got=name if name is not None else "nothing",
                )
            twin = found[data["kind"]].setdefault(normalise(name), file)
            if twin is not file:
                raise UserError(f"{file.where}: name: {name!r} is given in {twin.where} as well")
        return found

    def _locate(self, kind: str, name: str) -> File | None:
        """The file of a name or an alias; names first, the user's first."""
        key = normalise(name)
        for layer in (self._user[kind], self._builtin[kind]):
            if key in layer:
                return layer[key]
        shadowed = self._user[kind]
        return self._alias(self._user[kind].values(), key) or self._alias(
            (file for stem, file in self._builtin[kind].items() if stem not in shadowed), key
        )

    def _alias(self, files: Iterable[File], key: str) -> File | None:
        return next((one for one in files if key in map(normalise, self._record(one).aliases)), None)

    def _load(self, file: File) -> dict[str, Any]:
        if file.path not in self._raw:
            self._raw[file.path] = load_mapping(file.path, file.where)
        return self._raw[file.path]

    # Records: what `extends` makes of the files.

    def _get(self, cls: type[_R], kind: str, name: str) -> _R:
        file = self._locate(kind, name)
        if file is None:
            raise unknown(kind, name, self.names(kind))
        record = self._record(file)
        assert isinstance(record, cls)
        return record

    def _record(self, file: File) -> Record:
        if file not in self._records:
            self._records[file] = parse(self._extended(file, ()), file.where)
        return self._records[file]

    def _extended(self, file: File, below: tuple[File, ...]) -> dict[str, Any]:
        """The raw mapping of a file on top of all that it extends; `below` are the files that led here."""
        data = self._load(file)
        target = data.get("extends")
        if target is None:
            return data
        if not isinstance(target, str):
            raise UserError(f"{file.where}: extends: bad value", got=target, allowed="the name of another profile")
        chain = (*below, file)
        base = self._base_of(file, data["kind"], normalise(target))
        if base is None:
            raise UserError(
                f"{file.where}: extends: no such {data['kind']}",
                got=target,
                next_step=f"{did_you_mean(target, self.names(data['kind']))}; {LIST}",
            )
        if base in chain:
            turns = [*chain[chain.index(base) :], base]
            circle = " -> ".join(str(self._load(one).get("name")) for one in turns)
            raise UserError(f"{file.where}: extends: the records extend each other in a circle: {circle}")
        same_name = normalise(str(data.get("name"))) == normalise(target)
        return extend(self._extended(base, chain), data, same_name=same_name)

    def _base_of(self, file: File, kind: str, key: str) -> File | None:
        if file.builtin:
            return self._builtin[kind].get(key)
        user = self._user[kind].get(key)
        return self._builtin[kind].get(key, user) if user in (None, file) else user

    def _file_of(self, record: Record) -> File:
        key = normalise(record.name)
        for layer in (self._user, self._builtin):
            if key in layer[record.kind]:
                return layer[record.kind][key]
        raise UserError("the record is not of this catalogue", got=record.name)

    @cached_property
    def _engines(self) -> list[EngineCoefficients]:
        return [self._get(EngineCoefficients, "engine", name) for name in self.names("engine")]

    @cached_property
    def _near_runtimes(self) -> tuple[NearRuntime, ...]:
        return tuple(self._get(NearRuntime, "near-runtime", name) for name in self.names("near-runtime"))

    def _socs(self) -> list[Soc]:
        """Built-in chips first, so that a user's spelling goes before theirs."""
        found = [self._get(Soc, "soc", name) for name in self.names("soc")]
        return sorted(found, key=lambda one: not self._file_of(one).builtin)

    @cached_property
    def _spelt(self) -> dict[str, Soc]:
        """Chips by every form of their names, aliases and spellings."""
        return {key: soc for soc in self._socs() for key in soc.keys()}  # noqa: SIM118

    def _lineage(self, accelerator: Accelerator) -> list[str]:
        """The name of an accelerator and of those that it extends, nearest first."""
        found = [accelerator.name]
        while accelerator.extends is not None and normalise(accelerator.extends) != normalise(found[-1]):
            accelerator = self.accelerator(accelerator.extends)
            found.append(accelerator.name)
        return found

    def _lists(self, engine: EngineCoefficients, accelerator: str) -> bool:
        files = (self._locate("accelerator", name) for name in engine.accelerators if name != "*")
        return any(file is not None and self._record(file).name == accelerator for file in files)
