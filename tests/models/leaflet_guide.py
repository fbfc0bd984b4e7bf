"""Invented medicines in the shape of an ePI guide: five products, with their leaflets, lists and documents.

One resource each, in an order in which a file system might give them: product by product, types by their names, what
several products share last.  61 of the references point forward, and three leaflets refer to one another in a circle.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from tsi_fetch.fhir.references import references
from tsi_fetch.fhir.tokens import dump, number
from tsi_fetch.words import Json, Ref

FORWARD = 61
XHTML = "http://www.w3.org/1999/xhtml"

_NAMES = ("Almidol", "Brisotil", "Corvaxin", "Dulcerin", "Estuvan")
_RING = {1: 3, 3: 5, 5: 1}  # whose leaflet refers to whose
_SYSTEM = "http://guide.invalid/codes"


class Guide:
    """All resources, with ids that begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def resources(self) -> list[bytes]:
        """In the order of the guide."""
        return [dump(resource) for night in self._nights() for resource in night]

    def nights(self) -> list[list[bytes]]:
        """The same in three parts: two products, two more, the last one with what all share."""
        return [[dump(resource) for resource in night] for night in self._nights()]

    def ring(self) -> set[Ref]:
        """The circle: one leaflet of each night."""
        return {Ref("Composition", self._id(f"leaflet-{n}")) for n in _RING}

    def _nights(self) -> list[list[Json]]:
        shared = [self._company("company"), *(self._substance(name) for name in "ab")]
        products = [sorted(self._product(n), key=lambda r: str(r["resourceType"])) for n in range(1, 6)]
        return [products[0] + products[1], products[2] + products[3], products[4] + shared]

    def _product(self, n: int) -> Iterator[Json]:
        """The second product has a company of its own; the others share one, that comes last."""
        yield from (self._administered(n), self._document(n), self._use(n), self._leaflet(n), self._ingredient(n))
        yield from (self._list(n), self._item(n), self._medicine(n), self._pack(n), self._authorisation(n))
        if n == 2:
            yield self._company("company-2")

    def _id(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _to(self, kind: str, name: str) -> Json:
        return {"reference": f"{kind}/{self._id(name)}"}

    def _holder(self, n: int) -> Json:
        return self._to("Organization", "company-2" if n == 2 else "company")

    def _made(self, kind: str, ident: str, /, **members: Json) -> dict[str, Json]:
        identifier = {"system": "http://guide.invalid/id", "value": ident}
        return {"resourceType": kind, "id": self._id(ident), "identifier": [identifier], **members}

    def _medicine(self, n: int) -> Json:
        name = {"productName": _NAMES[n - 1], "usage": [{"country": _concept("ES"), "language": _concept("es")}]}
        contact = [{"contact": self._holder(n)}]
        return self._made("MedicinalProductDefinition", f"product-{n}", name=[name], contact=contact)

    def _authorisation(self, n: int) -> Json:
        subject = [self._to("MedicinalProductDefinition", f"product-{n}")]
        return self._made("RegulatedAuthorization", f"authorisation-{n}", subject=subject, holder=self._holder(n))

    def _pack(self, n: int) -> Json:
        item = {"item": {"reference": self._to("ManufacturedItemDefinition", f"item-{n}")}, "amount": {"value": 20}}
        return self._made(
            "PackagedProductDefinition",
            f"pack-{n}",
            packageFor=[self._to("MedicinalProductDefinition", f"product-{n}")],
            manufacturer=[self._holder(n)],
            packaging={"quantity": 1, "containedItem": [item]},
        )

    def _administered(self, n: int) -> Json:
        return self._made(
            "AdministrableProductDefinition",
            f"administered-{n}",
            status="active",
            formOf=[self._to("MedicinalProductDefinition", f"product-{n}")],
            producedFrom=[self._to("ManufacturedItemDefinition", f"item-{n}")],
            routeOfAdministration=[{"code": _concept("oral")}],
        )

    def _item(self, n: int) -> Json:
        form = _concept("tablet")
        return self._made("ManufacturedItemDefinition", f"item-{n}", status="active", manufacturedDoseForm=form)

    def _ingredient(self, n: int) -> Json:
        strength = {"presentationQuantity": {"value": number(f"{n}.50"), "unit": "mg"}}
        substance = self._to("SubstanceDefinition", f"substance-{'ab'[n % 2]}")
        kinds = ("MedicinalProductDefinition", "product"), ("ManufacturedItemDefinition", "item")
        made = self._made(
            "Ingredient",
            f"ingredient-{n}",
            status="active",
            role=_concept("active"),
            substance={"code": {"reference": substance}, "strength": [strength]},
        )
        made["for"] = [self._to(kind, f"{name}-{n}") for kind, name in kinds]
        made["for"].append(self._to("AdministrableProductDefinition", f"administered-{n}"))
        made["identifier"] = made["identifier"][0]  # the only one of these types that has just one
        return made

    def _substance(self, name: str) -> Json:
        return self._made("SubstanceDefinition", f"substance-{name}", name=[{"name": f"invented {name}"}])

    def _use(self, n: int) -> Json:
        subject = [self._to("MedicinalProductDefinition", f"product-{n}")]
        indication = {"diseaseSymptomProcedure": {"concept": {"text": "longing for a long day"}}}
        return self._made(
            "ClinicalUseDefinition", f"use-{n}", type="indication", subject=subject, indication=indication
        )

    def _company(self, name: str) -> Json:
        return self._made("Organization", name, active=True, name=f"Laboratorios {name}")

    def _leaflet(self, n: int) -> Json:
        """The leaflet by itself: about its product, by its company; three of them refer to one another."""
        made = self._made("Composition", f"leaflet-{n}", **_composition(n))
        made |= {"subject": [self._to("MedicinalProductDefinition", f"product-{n}")], "author": [self._holder(n)]}
        if n in _RING:
            other = self._to("Composition", f"leaflet-{_RING[n]}")
            made["relatesTo"] = [{"type": "similar-to", "resourceReference": other}]
        if n == 1:
            made["section"][1]["entry"] = [self._to("List", f"list-{n}")]
        return made

    def _list(self, n: int) -> Json:
        subject = [self._to("MedicinalProductDefinition", f"product-{n}")]
        entry = [{"item": self._to("Bundle", f"document-{n}")}]
        return self._made("List", f"list-{n}", status="current", mode="working", subject=subject, entry=entry)

    def _document(self, n: int) -> Json:
        """The leaflet as a document: its entries are its own, and refer to one another."""
        inner = [
            {"resourceType": "Composition", "id": "leaflet", **_composition(n)},
            {"resourceType": "MedicinalProductDefinition", "id": "product", "name": [{"productName": _NAMES[n - 1]}]},
            {"resourceType": "Organization", "id": "company", "name": "Laboratorios"},
        ]
        inner[0] |= {"subject": [{"reference": "MedicinalProductDefinition/product"}]}
        inner[0] |= {"author": [{"reference": "Organization/company"}]}
        entry = [{"fullUrl": f"http://guide.invalid/{r['resourceType']}/{r['id']}", "resource": r} for r in inner]
        made = self._made("Bundle", f"document-{n}", type="document", timestamp="2026-01-15T10:00:00Z", entry=entry)
        made["identifier"] = made["identifier"][0]
        return made


def forward(bodies: list[tuple[Ref, bytes]]) -> list[tuple[Ref, Ref]]:
    """References to what comes later in the order given."""
    place = {ref: n for n, (ref, _) in enumerate(bodies)}
    return [(ref, to) for ref, body in bodies for to in sorted(references(body)) if place.get(to, -1) > place[ref]]


def circles(bodies: list[tuple[Ref, bytes]]) -> list[set[Ref]]:
    """Resources that reach each other, by what each refers to."""
    linked = {ref: references(body) for ref, body in bodies}
    reach = {ref: _reached(ref, linked) for ref in linked}
    inside = sorted((min(reach[ref] & _back(ref, reach)), ref) for ref in linked if ref in reach[ref])
    return [{ref for _, ref in group} for _, group in groupby(inside, key=lambda pair: pair[0])]


def _reached(ref: Ref, linked: dict[Ref, frozenset[Ref]]) -> set[Ref]:
    found: set[Ref] = set()
    todo = [ref]
    while todo:
        fresh = linked.get(todo.pop(), frozenset()) - found
        found |= fresh
        todo += fresh
    return found


def _back(ref: Ref, reach: dict[Ref, set[Ref]]) -> set[Ref]:
    return {other for other, found in reach.items() if ref in found}


def _concept(code: str) -> Json:
    return {"coding": [{"system": _SYSTEM, "code": code}]}


def _composition(n: int) -> dict[str, Json]:
    titles = ("What it is", "How to store it")
    div = f'<div xmlns="{XHTML}"><p>{_NAMES[n - 1]}&#160;{n}.50&#160;mg &amp; more</p><img src="x" alt=""/></div>'
    return {
        "status": "final",
        "type": _concept("leaflet"),
        "date": "2026-01-15",
        "title": f"{_NAMES[n - 1]}: leaflet",
        "section": [{"title": title, "text": {"status": "additional", "div": div}} for title in titles],
    }
