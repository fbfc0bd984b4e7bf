"""What a product is called before its strength: the name that people use.

`nombre` runs name, strength, form, additions (`EFG`) together.  The name is certain only where a strength follows it: a
number with a unit that the table of units knows.

It is an *invented* one only of a product that the European Union has authorised, that is no generic, and where no word
of the substances is part of it.  By law a name is an invented one, or the common name beside a firm's (Directive
2001/83/EC, article 1(20)), and the Union uses the common name that the register gives as the substance's, in whatever
language it is spelled (`THALIDOMIDE`, talidomida).  National names also are other words for a substance (`VITAMINA C`
of ascorbic acid, `ADRENALINA` of epinephrine), which no list tells apart.
"""

from __future__ import annotations

import re

from sources.cima.mapping.register import Medicamento
from sources.cima.mapping.terms import known_units, normal

_LETTERS = 5
"""So many first letters tell a word of a substance, whatever its ending; shorter words (`urea`, `agua`) are compared
whole."""

_SPELLINGS = {"ph": "f", "th": "t", "ch": "c", "qu": "c", "k": "c", "y": "i", "h": ""}
"""Letters that a common name is written with in other languages, and the one by which both are compared."""

_SPELLED = re.compile("|".join(_SPELLINGS))
_DOUBLED = re.compile(r"(.)\1+")


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
    if name is None or not register.ema or register.generico is not False or not register.principiosActivos:
        return None
    substances = [s.nombre or "" for s in register.principiosActivos]
    scientific = [*substances, (register.vtm.nombre if register.vtm else None) or ""]
    stems = {stem for text in scientific for stem in _stems(text)}
    return None if stems & _stems(name) else name


def _stems(text: str) -> set[str]:
    """The words, each as far as it is compared, as they are spelled and as others spell them."""
    given = normal(text)
    elsewhere = _DOUBLED.sub(r"\1", _SPELLED.sub(lambda letters: _SPELLINGS[letters[0]], given))
    return {word[:_LETTERS] for words in (given, elsewhere) for word in re.findall(r"\w+", words)}
