"""What a checker notes of one version of a resource, whoever mapped it: whose it is, which one of its kind, its words.

Nothing of the program's own is asked, so that what is wrong there is not wrong here in the same way.  Bodies are
forgotten: of a text its sections' titles and the digests of their visible letters are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lxml import etree

from dev.cima.prose import letters
from tests.faults.bodies import is_retired
from tsi_fetch.fhir.digest import canonical_digest

Resource = Any
"""A parsed resource."""

KINDS = {"100000155532": "ft", "100000155538": "p"}
"""EMA's codes of the two documents: SmPC and leaflet."""

_is_over = is_retired.__wrapped__
"""Without its memory, which would keep the texts of a whole register."""


@dataclass(frozen=True, slots=True)
class Noted:
    """`owner`: the product's number, or the name of its MedicinalProductDefinition; empty for what products share.
    `label`: which one of its owner's.  `over`: retired.  `digest`: of all that it says."""

    owner: str
    label: str
    over: bool
    facts: Any
    digest: bytes


def noted(body: bytes) -> Noted:
    """What is to be noted of a resource; KeyError, IndexError or StopIteration where it is none that CIMA gives."""
    resource = json.loads(body)
    owner, label, facts = _READERS[resource["resourceType"]](resource)
    return Noted(owner, label, _is_over(body), facts, canonical_digest(body))


def hashed(text: str) -> str:
    """Twelve digits of a text's digest."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


Read = tuple[str, str, Any]


def _product(resource: Resource) -> Read:
    facts = {"name": [name["productName"] for name in resource["name"]]}
    return f"MedicinalProductDefinition/{resource['id']}", _own(resource, "nregistro"), facts


def _authorization(resource: Resource) -> Read:
    status = resource["status"]
    code = status["coding"][0]["code"] if "coding" in status else status["text"].lower()
    return resource["subject"][0]["reference"], "", {"status": code, "holder": resource["holder"]["reference"]}


def _by_number(resource: Resource) -> Read:
    return _own(resource, "nregistro"), "", None


def _package(resource: Resource) -> Read:
    marketed = [one["status"]["text"] for one in resource.get("marketingStatus", [])]
    facts = {"name": resource.get("name"), "marketed": marketed == ["Marketed"]}
    return resource["packageFor"][0]["reference"], _own(resource, "cn"), facts


def _ingredient(resource: Resource) -> Read:
    coding = resource["substance"]["code"]["concept"]["coding"][0]
    targets = (one["reference"] for one in resource["for"])
    owner = next(one for one in targets if one.startswith("MedicinalProductDefinition/"))
    return owner, f"{coding['system'].rpartition('/')[2]}:{coding['code']}", None


def _document(resource: Resource) -> Read:
    known = resource["identifier"][0]
    label = f"{known['system'].rpartition('/')[2]}:{known['value']}"
    return resource["subject"]["reference"], label, {"type": resource["type"].get("text")}


def _bundle(resource: Resource) -> Read:
    inside = [entry["resource"] for entry in resource["entry"]]
    product = next(one["id"] for one in inside if one["resourceType"] == "MedicinalProductDefinition")
    kind = resource["identifier"]["value"].rpartition("-")[2]
    return f"MedicinalProductDefinition/{product}", kind, _sections(inside[0])


def _composition(resource: Resource) -> Read:
    kind = KINDS[resource["type"]["coding"][0]["code"]]
    return resource["subject"][0]["reference"], kind, _sections(resource)


def _list(resource: Resource) -> Read:
    entries = sorted(entry["item"]["reference"] for entry in resource["entry"])
    return resource["subject"][0]["reference"], "", {"entries": entries}


def _organization(resource: Resource) -> Read:
    return "", resource["name"], None


_READERS: dict[str, Callable[[Resource], Read]] = {
    "AdministrableProductDefinition": _by_number,
    "Bundle": _bundle,
    "Composition": _composition,
    "DocumentReference": _document,
    "Ingredient": _ingredient,
    "List": _list,
    "ManufacturedItemDefinition": _by_number,
    "MedicinalProductDefinition": _product,
    "Organization": _organization,
    "PackagedProductDefinition": _package,
    "RegulatedAuthorization": _authorization,
}
TYPES = tuple(_READERS)
NO_XML = "no XML"
"""What is seen of a text that no XML reader can read: it is nobody's."""


def _own(resource: Resource, system: str) -> str:
    """The identifier of one of our own systems."""
    found: Iterable[str] = (i["value"] for i in resource["identifier"] if i["system"].endswith(f"/es-aemps/{system}"))
    return next(iter(found))


def _sections(composition: Resource) -> list[tuple[str, str]]:
    """Of each section below the outer one: the letters of its title, and the digest of what is seen of its text."""
    found = composition["section"][0].get("section", [])
    return [(letters(section["title"]), hashed(_seen(section["text"]["div"]))) for section in found]


def _seen(div: str) -> str:
    try:
        return letters("".join(map(str, etree.fromstring(div, _PARSER).itertext())))
    except etree.XMLSyntaxError:
        return NO_XML


_PARSER = etree.XMLParser(huge_tree=True, resolve_entities=False)
