"""Histories, where a sink keeps them: versions follow the register's order, and none says what the one before said."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from dev.cima.documents import Document, Library
from dev.cima.generated import Generated, Settings
from dev.cima.nights import Life, first_state
from dev.cima.numbers import registration
from dev.cima.products import facts
from dev.cima.prose import pool
from dev.cima.truth import SeenSection
from dev.load.index import Index, There
from dev.load.truth import reads, titled
from dev.load.wanted import DOCUMENTS

Told = Iterator[str]


def out_of_order(register: Generated, index: Index) -> Told:
    """Of all histories; of texts and of what becomes of products, also against the order of the nights."""
    past = _Past(register)
    for versions in index.histories():
        yield from _doubled(versions)
        if versions[0].type == "Composition":
            yield from past.texts(versions)
        if versions[0].type == "MedicinalProductDefinition":
            yield from past.fates(versions)


def _doubled(versions: Sequence[There]) -> Told:
    for one, two in itertools.pairwise(versions):
        if one.digest == two.digest:
            yield f"{two.ref}: version {two.number} says what version {one.number} said"
        if two.digest is None:
            yield f"{two.ref}: version {two.number} is a deletion, and nothing was to be deleted"


class _Past:
    """What the register was on each of its nights."""

    def __init__(self, register: Generated) -> None:
        self._register, self._settings = register, register.settings
        seed = self._settings.seed
        self._library = Library(seed, pool(seed), self._settings.text_bytes)
        self._products = {registration(seed, p): p for p in range(register.life.products)}
        self._fates = fates(self._settings, [register.board.changes(n + 1) for n in range(register.board.nights)])
        self._numbers: dict[str, str] = {}

    def texts(self, versions: Sequence[There]) -> Told:
        """Each version of a text is that of the one before, or a later one."""
        product = self._products.get(versions[0].ref.partition(f"comp-{versions[0].label}-")[2])
        if product is None:
            return  # a number that its id spells in another way
        given, at = facts(self._settings.seed, product), 0
        kind = next(number for number, known in DOCUMENTS.items() if known == versions[0].label)
        last = self._register.life.state(product).versions.get(kind, 0)
        name = given.substances[0].nombre.capitalize()
        for version in versions:
            documents = (Document(product, kind, n, given.ema, given.brand, name) for n in range(at, last + 1))
            later = (n for n, document in enumerate(documents, at) if self._is(document, version))
            found = next(later, None)
            if found is None and version.facts:
                yield f"{version.ref}: version {version.number} says what the register said before, or never"
            at = at if found is None else found

    def _is(self, document: Document, version: There) -> bool:
        sections: list[SeenSection] = list(self._library.sections(document))
        return len(sections) == len(version.facts) and all(
            titled(section, title) and reads(section, title, text)
            for section, (title, text) in zip(sections, version.facts, strict=True)
        )

    def fates(self, versions: Sequence[There]) -> Told:
        """A product is over, and alive again, in the nights' order."""
        product = self._products.get(versions[0].label)
        if product is None:
            return
        seen = [over for over, _ in itertools.groupby(version.over for version in versions)]
        were = iter(self._fates.get(product) or [first_fate(self._settings.seed, product)])
        if not all(any(over == was for was in were) for over in seen):
            yield f"{versions[0].ref} is over, or alive again, as it never was"


def first_fate(seed: int, product: int) -> bool:
    return first_state(seed, facts(seed, product)).withdrawn is not None


def fates(settings: Settings, nights: Sequence[int]) -> dict[int, list[bool]]:
    """Of each product that a night changed: whether it was over (withdrawn, or gone) before and after each one."""
    life, found = Life(settings.seed, settings.products, settings.first_day), dict[int, list[bool]]()
    for changes in nights:
        for event in life.pass_night(changes):
            state = life.state(event.product)
            was = found.setdefault(event.product, [first_fate(settings.seed, event.product)])
            was.append(state.gone or state.withdrawn is not None)
    return found
