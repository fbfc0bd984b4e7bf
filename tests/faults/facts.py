"""What the register says of a product, in its own words, against what is at the sink: whoever maps it.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.faults.bodies import is_retired, read
from tests.faults.seen import Evidence, Facts


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
