"""What every fact has in common: a name, a source, and how far to trust each of its fields.

    Record                    kind, name, aliases, source, confidence, notes, provenance
    Provenance                the source and confidence of one field that differs from its record's

Four confidences, strongest first: `measured` (a published datasheet, configuration or measurement), `fitted`
(least squares on published measurements), `interpolated` (arithmetic on measured facts), `assumed` (a stated
guess).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import UserError, did_you_mean

__all__ = [
    "BYTES_PER_VALUE",
    "CONFIDENCES",
    "Confidence",
    "Dtype",
    "Facts",
    "Provenance",
    "Record",
    "weakest",
]

Confidence = Literal["measured", "fitted", "interpolated", "assumed"]
CONFIDENCES: tuple[Confidence, ...] = ("measured", "fitted", "interpolated", "assumed")
Dtype = Literal["fp32", "bf16", "fp16", "fp8", "int8", "fp4", "int4"]
BYTES_PER_VALUE: Mapping[str, float] = {
    "fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5, "int4": 0.5,
}  # fmt: skip
"""Bytes of one stored value, without the scales that a quantised format adds."""

# Strict numbers: YAML `yes` is no 1.0 and "12" is no 12. NaN and infinities are refused everywhere.
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Efficiency = Annotated[float, Field(strict=True, gt=0, le=1.2, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
CountOrZero = Annotated[int, Field(strict=True, ge=0)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1)]


class Facts(BaseModel):
    """A frozen group of facts that refuses unknown keys; the base of every record and group inside one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


class Provenance(Facts):
    """Where one field comes from, when that is not where its record comes from."""

    source: Text
    confidence: Confidence


class Record(Facts):
    """A named fact sheet with its sources.

    `provenance` maps a field, or a dotted path such as `link.latency_us`, to its own source and confidence;
    what it does not name has the record's. A path that names no field is refused.
    """

    IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"kind", "name", "aliases", "source", "confidence", "notes", "provenance", "extends"}
    )
    """Fields that describe the record; every other field is a fact that can be trusted or not."""

    kind: str
    name: Text
    aliases: tuple[Text, ...] = ()
    """Other names of the same thing: as the runtime reports it, its Hugging Face id."""
    source: Text
    """Where the facts come from, as a reader could look them up."""
    confidence: Confidence
    notes: str = ""
    provenance: dict[str, Provenance] = Field(default_factory=dict)
    extends: str | None = None
    """The record that this one was written as a change of; the catalogue has already merged it in."""

    @model_validator(mode="after")
    def _provenance_names_fields(self) -> Record:
        for path in self.provenance:
            self._value_at(path)
        return self

    def confidence_of(self, field: str) -> Confidence:
        """How far to trust a field or a dotted path; a group is trusted as its weakest part.

        Raises UserError for a path that names no field.
        """
        self._value_at(field)
        own = next((self.provenance[p].confidence for p in _upwards(field) if p in self.provenance), self.confidence)
        return weakest([own, *(e.confidence for p, e in self.provenance.items() if p.startswith(f"{field}."))])

    def source_of(self, field: str) -> str:
        """The source of a field or a dotted path. Raises UserError for a path that names no field."""
        self._value_at(field)
        return next((self.provenance[p].source for p in _upwards(field) if p in self.provenance), self.source)

    def assumed_fields(self) -> tuple[str, ...]:
        """The facts that are guesses, sorted: fields, or dotted paths where only a part of a field is one."""
        found = {path for path, entry in self.provenance.items() if entry.confidence == "assumed"}
        if self.confidence == "assumed":
            given = {name for name in self.fact_fields() if getattr(self, name) is not None}
            found |= given - set(self.provenance)
        return tuple(sorted(found))

    @classmethod
    def fact_fields(cls) -> tuple[str, ...]:
        """The names of the fields that are facts, in the order of the schema."""
        return tuple(name for name in cls.model_fields if name not in cls.IDENTITY)

    def _value_at(self, path: str) -> Any:
        value: Any = self
        for part in path.split("."):
            known: Mapping[str, Any]
            if isinstance(value, Record):
                known = {name: getattr(value, name) for name in value.fact_fields()}
            elif isinstance(value, Facts):
                known = dict(value)
            else:
                known = value if isinstance(value, Mapping) else {}
            if part not in known:
                raise UserError(f"{self.name}: no such field", got=path, next_step=did_you_mean(part, known))
            value = known[part]
        return value


def weakest(confidences: list[Confidence]) -> Confidence:
    """The least trustworthy of some confidences: what a result built on all of them deserves."""
    return max(confidences, key=CONFIDENCES.index)


def _upwards(path: str) -> list[str]:
    """A dotted path and its ancestors, nearest first: a.b.c, a.b, a."""
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
