"""What a sink holds, against what the generated register holds: product by product, then what belongs to nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from dev.cima.generated import Generated
from dev.cima.numbers import registration
from dev.cima.prose import letters
from dev.cima.truth import SeenSection, Truth
from dev.load.index import Index, There
from dev.load.resources import hashed
from dev.load.wanted import DOCUMENTS, Label, Wanted, wanted

Told = Iterator[str]
"""What is wrong, in words."""

STATUS = {"authorised": "active", "suspended": "suspended", "withdrawn": "retired"}
REGULATOR = "Agencia Española de Medicamentos y Productos Sanitarios"


def untrue(register: Generated, index: Index) -> Told:
    """Of all products that the register knows or ever knew, and of what is there beside them."""
    firms: set[str] = {REGULATOR}
    for product in range(register.life.products):
        number = registration(register.settings.seed, product)
        want = wanted(register, number)
        if want.truth.exists:
            firms |= {name for name in (want.truth.holder, want.truth.representative) if name}
        yield from (f"{number} {what}" for what in of_product(want, index))
    yield from (f"{ref} is there, and nobody asked for it" for ref in index.strangers())
    yield from (f"{ref} is none of CIMA's resources" for ref in index.unreadable)
    yield from _firms(firms, index)


def of_product(want: Wanted, index: Index) -> Told:
    """Everything of one product: nothing lacks, is doubled or too much, and each says what the register says."""
    number = want.truth.number
    found = [one for one in index.labelled("MedicinalProductDefinition", number) if one.digest is not None]
    if len(found) != int(want.truth.exists) and (want.truth.exists or len(found) > 1):
        yield f"is there {len(found)} times"
        return
    there = [one for one in index.of(*(one.ref for one in found), number) if one.digest is not None]
    yield from _lacking(want, there)
    for one in there:
        yield from _unlike(want, one, index)


def _lacking(want: Wanted, there: Sequence[There]) -> Told:
    """What is there as if it were so, or lacks.  Of a product that is withdrawn all is over but papers, so that what
    left it before cannot be told apart."""
    live = Counter((one.type, one.label) for one in there if not one.over)
    held = Counter((one.type, one.label) for one in there)
    for label, times in want.there.items():
        has = held[label] if want.over(label) else live[label]
        if has != times:
            yield f"has {_named(label)} {has} times{' that are not over' * (not want.over(label))}, and not {times}"
    for label in live.keys() - want.there.keys():
        yield f"has {_named(label)} as if the register had it"
    for label in live.keys() & want.there.keys():
        if want.over(label):
            yield f"has {_named(label)} as if it were not over"


def _named(label: Label) -> str:
    return " ".join(filter(None, label))


def _unlike(want: Wanted, one: There, index: Index) -> Told:
    """What one resource says otherwise; of what the register has no longer, nobody asks."""
    label = (one.type, one.label)
    if label not in want.there:
        return
    truth = want.truth
    if one.type == "MedicinalProductDefinition" and one.facts["name"] != [truth.name]:
        yield "has another name"
    elif one.type == "RegulatedAuthorization":
        yield from _authorization(truth, one, index)
    elif one.type == "PackagedProductDefinition" and not one.over:
        name, marketed = (truth.packs or {})[one.label]
        if one.facts != {"name": name, "marketed": marketed}:
            yield f"has {_named(label)} with another name, or on sale as it is not"
    elif one.type in ("Bundle", "Composition"):
        kind = next(number for number, known in DOCUMENTS.items() if known == one.label)
        yield from (f"has {_named(label)} {what}" for what in _text((truth.texts or {})[kind], one.facts))
    elif one.type == "List" and len(one.facts["entries"]) != len(truth.texts or ()):
        yield "has a List of other documents"


def _authorization(truth: Truth, one: There, index: Index) -> Told:
    if one.facts["status"] != STATUS[truth.status]:
        yield f"is authorised as {one.facts['status']}, and is {truth.status}"
    holder = index.at(one.facts["holder"])
    if holder is None or holder.label != truth.holder:
        yield "has another holder"


def _text(sections: Sequence[SeenSection], there: Sequence[Sequence[str]]) -> Told:
    """A text with all its sections in their order, under their own numbers and titles."""
    if len(sections) != len(there):
        yield f"in {len(there)} sections, and not {len(sections)}"
        return
    for section, (title, text) in zip(sections, there, strict=True):
        if not titled(section, title):
            yield f"with another title for section {section[0]}"
        if not reads(section, title, text):
            yield f"with another text in section {section[0]}"


def titled(section: SeenSection, title: str) -> bool:
    """The number is kept in the title, unless that begins with it."""
    return title in (section[1], f"{section[0]}.{section[1]}")


def reads(section: SeenSection, title: str, text: str) -> bool:
    """Where there is nothing to read, a picture stays, or the title is repeated."""
    return text == hashed(section[2]) if section[2] else text in (hashed(""), hashed(letters(title)))


def _firms(names: set[str], index: Index) -> Told:
    """One Organization for each name that a product has now; the others are over."""
    live = Counter(one.label for one in index.last("Organization") if not one.over)
    for name in sorted(names | live.keys()):
        if live[name] != int(name in names):
            yield f"{name!r} is there {live[name]} times as an Organization that is not over"
