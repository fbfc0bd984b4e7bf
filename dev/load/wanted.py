"""What must be at the sink of one product, in the register's own words: `Truth`, and its answer to `medicamento`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from dev.cima.generated import Generated
from dev.cima.truth import Truth
from dev.cima_server import BASE

DOCUMENTS = {1: "ft", 2: "p", 3: "ipe", 4: "pgr"}
Label = tuple[str, str]
"""Type and which one of the product's; see `dev.load.resources`."""


@dataclass(frozen=True)
class Wanted:
    """`there`: how many of each; `may`: what may be there, as the answers have come in time.  `withdrawn_packs`: those
    that went alone."""

    truth: Truth
    there: Counter[Label]
    may: frozenset[Label] = frozenset()
    withdrawn_packs: frozenset[str] = frozenset()
    supply: Mapping[Label, bool] = field(default_factory=dict)

    def over(self, label: Label) -> bool:
        """Retired though it is there: with its product, or alone.  Papers outlive it."""
        if label[0] == "DocumentReference":
            return False
        return self.truth.status == "withdrawn" or (
            label[0] == "PackagedProductDefinition" and label[1] in self.withdrawn_packs
        )


def wanted(register: Generated, number: str) -> Wanted:
    """Of a product that is gone: nothing."""
    truth = register.truth(number)
    if not truth.exists:
        return Wanted(truth, Counter())
    said = _asked(register, f"medicamento?nregistro={quote(number)}")
    problems = dict(_problems(register, truth))
    packs = {pack["cn"] for pack in said["presentaciones"] if "rev" in pack["estado"]}
    there = Counter([*_register(number, said), *_papers(number, truth, said), *(p for p, on in problems.items() if on)])
    return Wanted(truth, there, frozenset(p for p, on in problems.items() if not on), frozenset(packs), problems)


def _asked(register: Generated, what: str) -> Any:
    return json.loads(register.answer(f"{BASE}/{what}").body)


def _register(number: str, said: Any) -> Iterator[Label]:
    yield "MedicinalProductDefinition", number
    yield "RegulatedAuthorization", ""
    if "formaFarmaceutica" in said:
        yield "ManufacturedItemDefinition", ""
        yield "AdministrableProductDefinition", ""
    for pack in said["presentaciones"]:
        yield "PackagedProductDefinition", pack["cn"]
    for substance in said["principiosActivos"]:
        yield "Ingredient", f"principio-activo:{substance['codigo']}"
    for substance in said["excipientes"]:
        yield "Ingredient", f"excipiente:{substance['id']}"


def _papers(number: str, truth: Truth, said: Any) -> Iterator[Label]:
    for kind in truth.texts or ():
        yield "Bundle", DOCUMENTS[kind]
        yield "Composition", DOCUMENTS[kind]
    if truth.texts:
        yield "List", ""
    names = [f"document:{number}-{DOCUMENTS[kind]}" for kind in truth.documents]
    names += [f"photo:{number}-{photo['tipo']}" for photo in said.get("fotos", ())]
    names += [f"nota:{note}" for note in truth.notes] + [f"material:{url}" for url in dict.fromkeys(truth.materials)]
    for name in names:
        yield "DocumentReference", name


def _problems(register: Generated, truth: Truth) -> Iterator[tuple[Label, bool]]:
    """Of each pack that has, or had, a supply problem: whether it lasts.

    One that is over is told of only where somebody asks; whether the product still says `psum` decides that, so that it
    may be there, or have gone with the next answer.
    """
    for cn, lasts in (truth.supply or {}).items():
        began = _asked(register, f"psuministro/v2/cn/{cn}")["fini"]
        yield ("DocumentReference", f"psuministro:{cn}-{began}"), lasts
