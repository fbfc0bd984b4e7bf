"""How the generated register shows its products: the answers' shapes and the order of their members are CIMA's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dev.cima.chance import share
from dev.cima.lexicon import ROUTES
from dev.cima.nights import State
from dev.cima.numbers import code
from dev.cima.products import Facts

Json = dict[str, Any]

SITE = "https://cima.invalid"
"""Where documents and pictures seem to lie: links of invented products must not lead to the real register."""

NOT_LISTED = ("pactivos", "atcs", "principiosActivos", "excipientes", "presentaciones")
"""Members of `medicamento` that a row of the listing lacks."""
_OF_A_PRODUCT = frozenset(
    "fotos excipientes viasAdministracion presentaciones dosis formaFarmaceutica formaFarmaceuticaSimplificada".split()
)
"""Members of `medicamento` that `presentacion` lacks."""
_FILES = {1: ("ft", "FT"), 2: ("p", "P"), 3: ("ipe", "IPE"), 4: ("pgr", "PGR")}


class Shop:
    """What a register of this seed shows of a product in a state."""

    def __init__(self, seed: int, site: str = SITE) -> None:
        self._seed, self._site = seed, site

    def medicine(self, given: Facts, state: State) -> Json:
        """`medicamento?nregistro=`."""
        shown: Json = {"nregistro": given.number, "nombre": given.name}
        shown["pactivos"] = ", ".join(substance.nombre for substance in given.substances)
        shown["labtitular"] = given.holder
        if given.representative:
            shown["labcomercializador"] = given.representative
        shown |= {"cpresc": given.supply, "estado": _estado(given, state), "comerc": state.marketed}
        shown |= {"receta": given.supply != "Sin Receta", "generico": given.kind["generico"], "conduc": state.drives}
        shown |= {name: given.kind[name] for name in ("triangulo", "huerfano", "biosimilar", "nosustituible")}
        shown |= {"psum": bool(state.supply % 2), "notas": bool(state.notes), "materialesInf": bool(state.materials)}
        shown |= {"ema": given.ema, "docs": list(self._documents(given, state))}
        if state.photos:
            shown["fotos"] = list(self._photos(given, state))
        shown |= _substances(given)
        shown["viasAdministracion"] = [{"id": route, "nombre": ROUTES[route]} for route in given.form.routes]
        shown["presentaciones"] = [self._listed_pack(given, state, place) for place in state.packs]
        if share(self._seed, "form", given.product) > 0.01:
            shown["formaFarmaceutica"] = {"id": given.form.id, "nombre": given.form.nombre}
            shown["formaFarmaceuticaSimplificada"] = dict(given.form.simple)
        if share(self._seed, "vtm", given.product) > 0.07:
            shown["vtm"] = _vtm(given)
        shown["dosis"] = "/".join(amount for amount, _ in given.strength) + " " + "/".join(u for _, u in given.strength)
        return shown

    def listed(self, given: Facts, state: State) -> Json:
        """A row of `medicamentos`."""
        return {name: value for name, value in self.medicine(given, state).items() if name not in NOT_LISTED}

    def by_code(self, given: Facts, state: State, place: int) -> Json:
        """`medicamento?cn=`: one pack alone."""
        return {**self.medicine(given, state), "presentaciones": [self._listed_pack(given, state, place)]}

    def pack(self, given: Facts, state: State, place: int) -> Json:
        """`presentacion/{cn}`."""
        medicine = self.medicine(given, state)
        own = self._listed_pack(given, state, place)
        shown = {"nregistro": given.number, "cn": own["cn"]}
        shown |= {name: value for name, value in medicine.items() if name not in _OF_A_PRODUCT}
        shown |= {name: own[name] for name in ("nombre", "estado", "comerc", "psum")}
        if share(self._seed, "dcp", given.product) > 0.08:
            words = f"{'/'.join(s.nombre.capitalize() for s in given.substances)} {medicine['dosis']}"
            number = 62_000_000_140_100 + given.product * 1_000_000
            shown["dcp"] = {"id": number, "nombre": f"{words} {given.form.nombre.lower()}"}
            shown["dcpf"] = {"id": number + 10_002 + 10 * place, "nombre": f"{words} {own['nombre'][-24:]}"}
        return shown

    def supply(self, given: Facts, state: State, place: int) -> Json:
        """`psuministro/v2/cn/{cn}`: the problem, the last one when it is over, or that there was none."""
        own = self._listed_pack(given, state, place)
        shown: Json = {"cn": own["cn"], "nombre": own["nombre"]}
        if not state.supply or place != state.packs[0]:
            note = "Sin problemas de suministro reportados"
            return {**shown, "estado": own["estado"], "comerc": own["comerc"], "observ": note}
        begun = given.dated[0] + state.supply // 2 * 86_400_000
        shown |= {"tipoProblemaSuministro": (given.product + state.supply) % 11, "fini": begun}
        if share(self._seed, "ffin", given.product, state.supply) > 0.1:
            shown["ffin"] = begun + 40 * 86_400_000
        shown["activo"] = bool(state.supply % 2)
        if share(self._seed, "observ", given.product, state.supply) > 0.1:
            shown["observ"] = "Hay otras presentaciones con la misma composición. "
        return shown

    def notes(self, given: Facts, state: State) -> list[Json]:
        """`notas`."""
        return [
            {
                "tipo": 1,
                "num": f"{given.product % 30 + 1}/2025",
                "referencia": f"MUH (FV), {given.product % 30 + 1 + n}/2025",
                "asunto": f"Nota {n + 1} sobre {given.brand}: vigilancia de la función hepática",
                "fecha": given.dated[0] + n * 86_400_000,
                "url": f"{self._site}/informa/notas-seguridad/{given.product}-{n}/",
            }
            for n in range(state.notes)
        ]

    def materials(self, given: Facts, state: State) -> list[Json]:
        """`materiales`."""
        if not state.materials:
            return []
        files = [self._material(given, n) for n in range(1, 1 + state.materials)]
        film = {"nombre": "INSTRUCCIONES DE USO (VIDEO)", "url": f"{self._site}/video/{given.product}?rel=0&showinfo=0"}
        films = [{**film, "video": True, "fecha": given.dated[1]}] if given.product % 7 == 0 else []
        patients = [file for n, file in enumerate(files) if n % 2 == 0]
        return [
            {
                "medicamento": given.brand,
                "principiosActivos": ", ".join(substance.nombre for substance in given.substances),
                "listaDocsPaciente": [*patients, *films],
                "listaDocsProfesional": [file for file in files if file not in patients],
            }
        ]

    def _material(self, given: Facts, n: int) -> Json:
        url = f"{self._site}/cima/DocsPub/{15 + n % 2}/{given.product * 4 + n}"
        return {"nombre": f"GUÍA {n} SOBRE {given.brand}", "url": url, "fecha": given.dated[1] + n * 1000}

    def _documents(self, given: Facts, state: State) -> Iterable[Json]:
        for kind in sorted({*given.segmented, *given.plain}):
            if kind == 2 and not state.leaflet:
                continue
            folder, prefix = _FILES[kind]
            secc, file = kind in given.segmented, f"{given.number.replace(' ', '+')}"
            shown: Json = {"tipo": kind, "url": f"{self._site}/cima/pdfs/{folder}/{file}/{prefix}_{file}.pdf"}
            if secc:
                shown["urlHtml"] = f"{self._site}/cima/dochtml/{folder}/{file}/{prefix}_{file}.html"
            shown["secc"] = secc
            if secc and not given.ema:
                shown["fecha"] = state.dated.get(kind, given.dated[kind - 1])
            yield shown

    def _photos(self, given: Facts, state: State) -> Iterable[Json]:
        file = given.number.replace(" ", "+")
        for kind in ("materialas", "formafarmac"):
            url = f"{self._site}/cima/fotos/thumbnails/{kind}/{file}/{file}_{kind}.jpg"
            yield {"tipo": kind, "url": url, "fecha": given.dated[1] + state.photos * 86_400_000}

    def _listed_pack(self, given: Facts, state: State, place: int) -> Json:
        estado = _estado(given, state)
        if place and share(self._seed, "pack", given.product, place) < 0.03:  # withdrawn alone
            estado = {**estado, "rev": given.authorised + 900 * 86_400_000}
        return {
            "cn": code(given.product, place),
            "nombre": f"{given.name}{' ' if given.product % 3 else ''}, {_pack(given, place)}",
            "estado": estado,
            "comerc": state.marketed and place == state.packs[0],
            "psum": bool(state.supply % 2) and place == state.packs[0],
        }


def _pack(given: Facts, place: int) -> str:
    counts = (28, 30, 60, 1, 20, 56, 100, 500, 10, 14, 90, 7)
    return given.form.pack.format(n=counts[(given.product + place) % 12], v=(1, 5, 10)[place % 3], m=2 + place)


def _estado(given: Facts, state: State) -> Json:
    shown = {"aut": given.authorised, "susp": state.suspended, "rev": state.withdrawn}
    return {name: day for name, day in shown.items() if day is not None}


def _vtm(given: Facts) -> Json:
    return {"id": given.substances[0].vtm, "nombre": " + ".join(s.nombre.lower() for s in given.substances)}


def _substances(given: Facts) -> Json:
    first = given.substances[0]
    levels = ((first.atc[:4], 3), (first.atc[:5], 4), (first.atc, 5))
    rows = [
        {"id": s.id, "codigo": s.codigo, "nombre": s.nombre, "cantidad": amount, "unidad": unit, "orden": n}
        for n, (s, (amount, unit)) in enumerate(zip(given.substances, given.strength, strict=True), 1)
    ]
    if given.product % 40 == 7:  # named twice, as a salt and as its base
        rows.append({**rows[0], "cantidad": "0", "unidad": "-", "orden": len(rows) + 1})
    return {
        "atcs": [{"codigo": c, "nombre": f"{first.nombre.capitalize()} (nivel {n})", "nivel": n} for c, n in levels],
        "principiosActivos": rows,
        "excipientes": [dict(row) for row in given.excipients],
    }
