"""A dozen made-up products out of four hundred: one for each way in which products differ.

Their answers are a generated register's, taken over whole; what is true of them its `Truth`s say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dev.cima.generated import Generated, Settings
from dev.cima.truth import Truth
from dev.cima_server import BASE, Register

SETTINGS = Settings(seed=5, products=400, text_bytes=12_000)

Kind = tuple[str, Callable[[Truth], object]]
KINDS: Mapping[str, Kind] = {
    "withdrawn": ("10524", lambda t: t.status == "withdrawn"),
    "suspended": ("78059", lambda t: t.status == "suspended"),
    "with a note": ("1251029003", lambda t: t.notes),
    "with materials": ("10005", lambda t: len(t.materials) > 1),
    "with a supply problem": ("1251029002", lambda t: t.supply),
    "of ten digits": ("1151011002", lambda t: len(t.number) == 10),
    "of eight digits": ("96102005", lambda t: len(t.number) == 8),
    "with a blank in its number": ("27 944-95-96", lambda t: " " in t.number),
    "with letters in its number": ("PA10844024002IP1", lambda t: not t.number.isdigit()),
    "with PDFs alone": ("1211048004", lambda t: t.documents and not t.texts),
    "without documents": ("1171034003", lambda t: not t.documents),
    "with a leaflet alone": ("26932", lambda t: set(t.texts or {}) == {2}),
    "with a section 0": ("11363", lambda t: any(number == "0" for number, _, _ in (t.texts or {})[2])),
    "with markup in a title": ("11190IP", lambda t: any("<usar>" in title for _, title, _ in (t.texts or {})[2])),
    "with many packs": ("1171038008", lambda t: len(t.packs or {}) > 3),
}
"""The number of a product that is so, among those of `SETTINGS`."""


@dataclass(frozen=True)
class Chosen:
    """`truths`: by number."""

    register: Register
    truths: Mapping[str, Truth]

    def of(self, kind: str) -> Truth:
        return self.truths[KINDS[kind][0]]


def chosen() -> Chosen:
    generated = Generated(SETTINGS)
    truths = {number: generated.truth(number) for number, _ in KINDS.values()}
    assert all(holds(truths[number]) for number, holds in KINDS.values())
    return Chosen(_register(generated, truths), truths)


def _register(generated: Generated, truths: Mapping[str, Truth]) -> Register:
    register = Register()
    for number, truth in truths.items():
        asked = f"?nregistro={quote(number)}"
        register.products[number] = _answer(generated, f"medicamento{asked}")
        register.notes[number] = _answer(generated, f"notas{asked}")
        register.materials[number] = _answer(generated, f"materiales{asked}")
        for kind in truth.texts or {}:
            register.contents[kind, number] = _answer(generated, f"docSegmentado/contenido/{kind}{asked}")
        for cn in truth.packs or {}:
            register.presentations[cn] = _answer(generated, f"presentacion/{cn}")
            register.supply[cn] = _answer(generated, f"psuministro/v2/cn/{cn}")
    return register


def _answer(generated: Generated, call: str) -> Any:
    return json.loads(generated.answer(f"{BASE}/{call}").body)
