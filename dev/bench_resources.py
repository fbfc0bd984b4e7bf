"""What the benchmark loads: resources made on the spot, the same every time, and a source that gives them.

Observations of 5 KB, or of 1, one a row, passed through; and products in the shape of CIMA, mapped by that source's own
mapping from the answers of `tests/recorded`, each with numbers of its own.  No body is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sources.cima import mapping
from sources.cima.identity import PREFIX
from tsi_fetch.clock import microseconds
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import (
    Answer,
    Batch,
    Change,
    Cursor,
    CursorKind,
    KeyPage,
    Position,
    Ref,
    Row,
    ScopeClaim,
    Upsert,
    Validators,
    Write,
    WriteAction,
)

STREAM = "bench"
LISTED = 1000  # keys on a page of the listing
ASKED_AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ORDER = microseconds(ASKED_AT)
_ORGANIZATION = f"{PREFIX}-org-"
BODIES = Path(__file__).parent.parent / "tests" / "recorded" / "cima" / "bodies"
CHANGED_EVERY = 100  # of a changed edition one row in so many differs: one percent

Edition = int
"""1: as first loaded; 2: one row in `CHANGED_EVERY` is another."""


class Kind(Protocol):
    """A kind of rows.  `prefix` tells the ids of one trial from those of another."""

    types: frozenset[str]
    per_row: float  # resources in a row, on average; those that rows share are left out

    def answers(self, prefix: str, number: int, edition: Edition) -> tuple[Answer, ...]: ...

    def changes(self, row: Row) -> Sequence[Change]: ...


def _answer(key: str, part: str, body: bytes) -> Answer:
    return Answer(part, f"https://register.invalid/{part}?nregistro={key}", 200, body, ASKED_AT)


def _component(n: int) -> dict[str, object]:
    code = {
        "coding": [{"system": "http://loinc.org", "code": f"{8000 + n}-{n}", "display": f"Measurement {n} in serum"}]
    }
    quantity = {"value": n + 0.5, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}
    return {"code": code, "valueQuantity": quantity, "referenceRange": [{"low": quantity, "text": "by age and sex"}]}


def _observation(components: int, filling: int) -> bytes:
    """An Observation with places for id and value."""
    return dump(
        {
            "resourceType": "Observation",
            "id": "%(id)s",
            "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/vitalsigns"]},
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "85353-1", "display": "Panel"}]},
            "effectiveDateTime": "2026-03-02T08:00:00+01:00",
            "note": [{"text": "made for a benchmark: %(value)s" + " and filled up" * filling}],
            "component": [_component(n) for n in range(components)],
        }
    )


class Observations:
    """5 KB each unless told otherwise, one a row, without references."""

    types = frozenset({"Observation"})
    per_row = 1.0

    def __init__(self, components: int = 6, filling: int = 180) -> None:
        model = _observation(components, filling)
        self._before, self._between, self._after = re.split(rb"%\(\w+\)s", model)

    def answers(self, prefix: str, number: int, edition: Edition) -> tuple[Answer, ...]:
        key = f"{prefix}-{number}"
        body = b"".join((self._before, key.encode(), self._between, b"%d" % edition, self._after))
        return (_answer(key, "observation", body),)

    def changes(self, row: Row) -> Sequence[Change]:
        return [Upsert(Ref("Observation", row.key), row.answers[0].body, row.key, row.order)]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The answers of one recorded product: part, body, and the numbers that a copy gets anew."""

    parts: tuple[tuple[str, bytes], ...]
    number: str
    codes: tuple[str, ...]


def _recorded(path: Path) -> _Recorded:
    body = path.read_bytes()
    product = parse(body)
    number = product["nregistro"]
    codes = tuple(p["cn"] for p in product["presentaciones"])
    parts = [("medicamento", body)]
    parts += [(f"presentacion/{cn}", (BODIES / f"presentacion_{cn}.json").read_bytes()) for cn in codes]
    for kind in (1, 2):
        content = BODIES / path.name.replace("medicamento", f"contenido_{kind}")
        if content.exists():
            parts.append((f"contenido/{kind}", content.read_bytes()))
    return _Recorded(tuple(parts), number, codes)


class Products:
    """Medicines as CIMA gives them: the recorded ones in turn, with other numbers.  They share their holders."""

    types = frozenset(
        "Bundle MedicinalProductDefinition Organization PackagedProductDefinition RegulatedAuthorization".split()
    )

    def __init__(self) -> None:
        self._models = [_recorded(path) for path in sorted(BODIES.glob("medicamento_*.json"))]
        some = [Row(f"x-{n}", self.answers("x", n, 1), 1, (ScopeClaim(f"x-{n}", whole=True),)) for n in range(30)]
        refs = [c.ref for row in some for c in self.changes(row)]
        self.per_row = sum(ref.type != "Organization" for ref in refs) / len(some)

    def answers(self, prefix: str, number: int, edition: Edition) -> tuple[Answer, ...]:
        model = self._models[number % len(self._models)]
        key = f"{prefix}-{number}"
        numbers = {model.number: key}
        numbers |= {code: f"{key}-{n}" for n, code in enumerate(model.codes)}
        return tuple(_answer(key, *_renumbered(part, body, numbers, edition)) for part, body in model.parts)

    def changes(self, row: Row) -> Sequence[Change]:
        """As CIMA's source maps them, but for the ids of Organizations, which no two trials may share."""
        prefix = f"{_ORGANIZATION}{row.key.rpartition('-')[0]}-"
        return [_elsewhere(change, prefix) for change in mapping.to_changes(row)]


def _elsewhere(change: Change, prefix: str) -> Change:
    if not isinstance(change, Upsert):
        return change
    ref = Ref(change.ref.type, change.ref.id.replace(_ORGANIZATION, prefix))
    return replace(change, ref=ref, body=change.body.replace(_ORGANIZATION.encode(), prefix.encode()))


def _renumbered(part: str, body: bytes, numbers: Mapping[str, str], edition: Edition) -> tuple[str, bytes]:
    for old, new in numbers.items():
        part, body = part.replace(old, new), body.replace(f'"{old}"'.encode(), f'"{new}"'.encode())
    return part, body if edition == 1 else body.replace(b'"nombre": "', b'"nombre": "Neu ', 1)


KINDS: Mapping[str, Callable[[], Kind]] = {
    "observations": Observations,
    "small": lambda: Observations(1, 20),  # 1 KB
    "cima": Products,
}


class LocalSource:
    """A `Source` of `resources` resources, or a few more.

    `read`: what the feed gives.  "nothing" (a first load or a full reading goes by the listing) or "everything".
    """

    stream = STREAM
    mapping = 1

    def __init__(self, kind: Kind, prefix: str, resources: int, *, batch: int, read: str, edition: Edition = 1) -> None:
        self._kind, self._prefix, self._batch, self._read, self._edition = kind, prefix, batch, read, edition
        self.types = kind.types
        self.rows = max(1, round(resources / kind.per_row))

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        cursor = Cursor(CursorKind.INSTANT, started.isoformat())
        numbers = range(self.rows) if self._read == "everything" else range(0)
        for first in numbers[:: self._batch]:
            last = first + self._batch >= self.rows
            some = numbers[first : first + self._batch]
            yield Batch(STREAM, tuple(self.row(n, settles=True) for n in some), cursor if last else None)
        if not numbers:
            yield Batch(STREAM, (), cursor)

    def keys(self) -> Iterator[KeyPage]:
        cursor = Cursor(CursorKind.INSTANT, ASKED_AT.isoformat())
        for first in range(0, self.rows, LISTED):
            numbers = range(first, min(first + LISTED, self.rows))
            yield KeyPage(tuple(self._key(n) for n in numbers), cursor)

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        numbers = [int(key.rpartition("-")[2]) for key in keys]
        for first in range(0, len(numbers), self._batch):
            yield Batch(STREAM, tuple(self.row(n) for n in numbers[first : first + self._batch]))

    def to_changes(self, row: Row) -> Sequence[Change]:
        return self._kind.changes(row)

    def settled(self, batch: Batch) -> None:
        """Nobody need be told."""

    def row(self, number: int, *, settles: bool = False) -> Row:
        key = self._key(number)
        edition = self._edition if number % CHANGED_EVERY == 0 else 1
        answers = self._kind.answers(self._prefix, number, edition)
        order = ORDER + edition
        return Row(key, answers, order, (ScopeClaim(key, whole=True),), (key,) if settles else ())

    def writes(self, version: str | None = None) -> Iterator[list[Write]]:
        """What a first load would write, row by row: for those who are handed everything ready-made."""
        for number in range(self.rows):
            changes = [c for c in self.to_changes(self.row(number)) if isinstance(c, Upsert)]
            yield [Write(c.ref, WriteAction.PUT, version, c.body) for c in changes]

    def _key(self, number: int) -> str:
        return f"{self._prefix}-{number}"
