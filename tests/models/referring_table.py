"""A table whose resources refer to each other: `{id: "B -> c d"}` is a resource of that id that refers to c and d."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from house import House
from table_source import TableSource

from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.words import Change, Ref, Row, Upsert


class Referring(TableSource):
    def to_changes(self, row: Row) -> Sequence[Change]:
        upserts = [u for u in super().to_changes(row) if isinstance(u, Upsert)]
        return [replace(u, body=_referring(u.ref, parse(u.body)["name"])) for u in upserts]


def _referring(ref: Ref, text: str) -> bytes:
    name, _, targets = text.partition(" -> ")
    links = [
        {"url": "https://example.invalid/of", "valueReference": {"reference": f"Organization/{t}"}}
        for t in targets.split()
    ]
    extension = {"extension": links} if links else {}
    return dump({"resourceType": ref.type, "id": ref.id, **extension, "name": name})


def referential(folder: Path, table: dict[str, dict[str, str] | None], ahead: int = 0, batch: int = 1) -> House:
    """A house over such a table, whose sink takes no reference to what is not there."""
    house = House(folder, Referring(table, batch))
    house.sink.referential, house.sink.ahead = True, ahead
    return house
