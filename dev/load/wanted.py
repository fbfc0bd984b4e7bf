"""What must be at the sink of one product, in the register's own words: `Truth`, and its answer to `medicamento`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
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
    """`there`: how many of each.  `withdrawn_packs`: those that went alone."""

    truth: Truth
    there: Counter[Label]
    withdrawn_packs: frozenset[str] = frozenset()

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
    packs = {pack["cn"] for pack in said["presentaciones"] if "rev" in pack["estado"]}
    there = Counter([*_register(number, said), *_papers(number, truth, said)])
    return Wanted(truth, there, frozenset(packs))


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
    names += [f"psuministro:{cn}-{began}" for cn, began in (truth.supply or {}).items()]
    for name in names:
        yield "DocumentReference", name
