"""What the register says of a product, in its own words, against what is at the sink: whoever maps it.  Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from dev.cima_server import Register
from tests.faults.bodies import is_retired, read
from tests.faults.seen import Evidence, Facts

TEXTS = {1: "ft", 2: "p"}
"""Kinds of documents that may come in sections, by the register's number."""


def said(register: Register, key: str) -> Facts:
    """Of a product that can be used."""
    product = register.products[key]
    packs = product.get("presentaciones", [])
    problems = [register.supply[p["cn"]] for p in packs if register.supply.get(p["cn"], {}).get("activo")]
    lists = [m.get(name, []) for m in register.materials.get(key, []) for name in m if name.startswith("lista")]
    papers = [
        *product.get("docs", []),
        *product.get("fotos", []),
        *register.notes.get(key, []),
        *itertools.chain(*lists),
    ]
    substances = [*product.get("principiosActivos", []), *product.get("excipientes", [])]
    return Facts(
        name=product["nombre"],
        holder=product["labtitular"],
        packages={pack["cn"] for pack in packs},
        suspended="susp" in product["estado"] and "rev" not in product["estado"],  # what is later holds
        revoked="rev" in product["estado"],
        withdrawn={pack["cn"] for pack in packs if "rev" in pack["estado"]},
        substances={s["nombre"] for s in substances},
        texts={TEXTS[doc["tipo"]] for doc in product.get("docs", []) if doc.get("secc") and doc["tipo"] in TEXTS},
        papers={paper["url"] for paper in papers} | {f"{p['cn']}-{p['fini']}" for p in problems},
    )


def mismapped(e: Evidence) -> Iterator[str]:
    """Each product is there under its own name, held by its company, as alive as it is, and with its packages alone."""
    there = [read(v[-1].body) for v in e.held.values() if v and v[-1].body]
    over = {str(ref) for ref, v in e.held.items() if v and v[-1].body and is_retired(v[-1].body)}
    for key in sorted(e.facts.keys() - e.set_aside):
        products = [r for r in there if r["resourceType"] == "MedicinalProductDefinition" and key in _identifiers(r)]
        if len(products) != 1:
            yield f"{key} is at the sink as {len(products)} products"
            continue
        yield from (f"{key} is at the sink {what}" for what in _unlike(e.facts[key], products[0], there, over))


def _unlike(facts: Facts, product: Any, there: list[Any], over: set[str]) -> Iterator[str]:
    name = _name(product)
    if [n.get("productName") for n in product.get("name", [])] != [facts.name]:
        yield "under another name"
    if (name in over) is not facts.revoked:
        yield "as if it were not revoked" if facts.revoked else "as if it were over"
    mine = [r for r in there if r["resourceType"] == "RegulatedAuthorization" and _refers(r.get("subject"), name)]
    if [_plain(_holder(r, there)) for r in mine] != [_plain(facts.holder)]:
        yield "with another holder"
    if any(("suspend" in str(r.get("status")).lower()) is not facts.suspended for r in mine):
        yield "with another status"
    packs = [r for r in there if r["resourceType"] == "PackagedProductDefinition"]
    packs = [r for r in packs if _refers(r.get("packageFor"), name)]
    if missing := facts.packages - {i for r in packs for i in _identifiers(r)}:
        yield f"without {', '.join(sorted(missing))}"
    left = {_name(r) for r in packs if not _identifiers(r) & facts.packages} - over
    yield from (f"with {ref}, which it has no longer" for ref in sorted(left))
    if any(
        (_name(r) in over) is not bool(facts.revoked or _identifiers(r) & facts.withdrawn) for r in _mine(packs, facts)
    ):
        yield "with packs that are not as alive as they are"
    yield from _unlike_beside(facts, name, there, over)


def _mine(packs: list[Any], facts: Facts) -> list[Any]:
    return [r for r in packs if _identifiers(r) & facts.packages]


def _unlike_beside(facts: Facts, name: str, there: list[Any], over: set[str]) -> Iterator[str]:
    """What hangs on the product, as far as the register has it; nothing else of it is alive."""
    mine = [r for r in there if _refers(_subject(r), name) and _name(r) not in over]
    substances = {_substance(r) for r in mine if r["resourceType"] == "Ingredient"}
    if facts.revoked:
        yield from (f"with {_name(r)} as if it were not revoked" for r in mine)
    else:
        yield from ["made of something else"] if substances != facts.substances else ()
        yield from _unlike_in_texts(facts, mine, there, over)
    papers = [r for r in there if r["resourceType"] == "DocumentReference" and _refers([r.get("subject", {})], name)]
    papers = [r for r in papers if _name(r) not in over]
    if missing := facts.papers - {known for r in papers for known in _addresses(r)}:
        yield f"without {', '.join(sorted(missing))}"
    yield from (f"with {_name(r)}, which it has no longer" for r in papers if not _addresses(r) & facts.papers)


def _unlike_in_texts(facts: Facts, mine: list[Any], there: list[Any], over: set[str]) -> Iterator[str]:
    """A text is a Composition, the Bundle that begins with it, and an entry of the List."""
    texts = [r for r in mine if r["resourceType"] == "Composition"]
    if len(texts) != len(facts.texts):
        yield f"with {len(texts)} texts"
    names = {_name(r) for r in texts}
    bundles = {_name(b) for b in there if b["resourceType"] == "Bundle" and _begins_with(b) in names}
    if len(bundles) != len(texts) or bundles & over:
        yield "with other documents than texts"
    lists = [r for r in mine if r["resourceType"] == "List"]
    if (listed := [e["item"]["reference"] for one in lists for e in one.get("entry", [])]) != [*dict.fromkeys(listed)]:
        yield "with a document listed twice"
    if set(listed) != bundles or len(lists) != bool(bundles):
        yield "with another list than it has documents"


def _subject(resource: Any) -> Any:
    """What it is about, of those types that say so in a list."""
    if resource["resourceType"] in ("Composition", "List"):
        return resource.get("subject")
    return resource.get("for") if resource["resourceType"] == "Ingredient" else None


def _addresses(document: Any) -> set[str]:
    return {str(c["attachment"].get("url")) for c in document.get("content", [])} | _identifiers(document)


def _begins_with(bundle: Any) -> str:
    """What somebody else wrote may be empty."""
    return _name(bundle["entry"][0]["resource"]) if bundle.get("entry") else ""


def _substance(ingredient: Any) -> str | None:
    text: str | None = ingredient.get("substance", {}).get("code", {}).get("concept", {}).get("text")
    return text


def _name(resource: Any) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _identifiers(resource: Any) -> set[str]:
    return {str(i.get("value")) for i in resource.get("identifier", [])}


def _refers(references: Any, name: str) -> bool:
    return any(r.get("reference") == name for r in references or [])


def _holder(authorization: Any, there: list[Any]) -> str:
    wanted = authorization.get("holder", {}).get("reference")
    return next((str(r.get("name")) for r in there if _name(r) == wanted), "")


def _plain(name: str) -> str:
    """The letters and digits of a name: registers end theirs with a comma now and then."""
    return re.sub(r"\W", "", name).casefold()
