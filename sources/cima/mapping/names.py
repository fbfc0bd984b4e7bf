"""What a product is called before its strength: the name that people use.

`nombre` runs name, strength, form, additions (`EFG`) together.  The name is certain only where a strength follows it: a
number with a unit that the table of units knows.  It is an *invented* one only where none of the substances' names is
part of it, and the product is no generic.
"""

from __future__ import annotations

import re

from sources.cima.mapping.register import Medicamento
from sources.cima.mapping.terms import known_units, normal

_LETTERS = 5
"""Shorter words of substances (`acido` has five, `de` two) also stand in names that were invented."""


def _strength() -> re.Pattern[str]:
    units = "|".join(re.escape(unit) for unit in sorted(known_units(), key=len, reverse=True))
    number = r"\d[\d.,]*(?:\s*/\s*\d[\d.,]*)*"
    return re.compile(rf"{number}\s*(?:{units})(?![^\W\d_])", re.IGNORECASE)


_STRENGTH = _strength()


def medicine_name(register: Medicamento) -> str | None:
    """The words before the strength; None where the first number in `nombre` that stands alone is no strength."""
    first = re.search(r"(?<!\S)\d", register.nombre)
    if first is None or not _STRENGTH.match(register.nombre, first.start()):
        return None
    return register.nombre[: first.start()].strip(" ,/-") or None


def invented_name(register: Medicamento) -> str | None:
    """The medicine's name where it cannot be a substance's."""
    name = medicine_name(register)
    if name is None or register.generico is not False or not register.principiosActivos:
        return None
    substances = [s.nombre or "" for s in register.principiosActivos]
    scientific = [*substances, (register.vtm.nombre if register.vtm else None) or ""]
    words = {word for text in scientific for word in re.findall(r"\w+", normal(text)) if len(word) >= _LETTERS}
    stems = {word[:_LETTERS] for word in words}
    return None if any(word[:_LETTERS] in stems for word in re.findall(r"\w+", normal(name))) else name
