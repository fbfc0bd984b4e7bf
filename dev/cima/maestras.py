"""CIMA's lists of names (`maestras`), as far as the generated register has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dev.cima.lexicon import FORMS, ROUTES, holders, substances

Json = dict[str, Any]


def master(which: str, name: str = "") -> list[Json] | None:
    """The rows of a list (1 substances, 3 forms, 4 routes, 6 holders, 7 ATC, 11, 13, 14 simplified ones), those whose
    name begins so; None for a list that there is not."""
    rows = _rows(which)
    return None if rows is None else [row for row in rows if str(row["nombre"]).upper().startswith(name.upper())]


def _rows(which: str) -> list[Json] | None:
    lists: dict[str, Callable[[], list[Json]]] = {
        "1": lambda: [{"id": s.id, "codigo": s.codigo, "nombre": s.nombre} for s in substances()],
        "3": lambda: [{"id": form.id, "nombre": form.nombre} for form in FORMS],
        "4": lambda: [{"id": ident, "nombre": route} for ident, route in ROUTES.items()],
        "6": lambda: [{"id": 10 + n, "nombre": name} for n, name in enumerate(sorted(holders()))],
        "7": _atcs,
        "11": lambda: [{"id": s.vtm, "nombre": s.nombre.lower()} for s in substances()],
        "13": lambda: list({str(form.simple["id"]): dict(form.simple) for form in FORMS}.values()),
        "14": lambda: [{"id": ident, "nombre": route} for ident, route in ROUTES.items()],
    }
    return lists[which]() if which in lists else None


def _atcs() -> list[Json]:
    named = {s.atc: s.nombre.capitalize() for s in reversed(substances())}
    return [{"codigo": code, "nombre": name} for code, name in sorted(named.items())]
