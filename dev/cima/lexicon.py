"""The words of the generated register: substances, holders and excipients are invented, forms and routes are real.

Ids of forms and routes are CIMA's where recorded answers show them (42, 43, 1286 / 48, 42, 58), else invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from random import Random

from dev.cima.chance import dice

Item = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Substance:
    """An active substance as `principiosActivos`, `atcs` and `vtm` show it."""

    id: int
    codigo: str
    nombre: str
    atc: str
    vtm: int


@dataclass(frozen=True, slots=True)
class Form:
    """A dosage form with its simplified one, its routes, the units of its strength and the words of its packs."""

    id: int
    nombre: str
    simple: Item
    routes: tuple[int, ...]
    units: tuple[str, ...]
    pack: str


ROUTES: dict[int, str] = {
    48: "VÍA ORAL",
    42: "VÍA INTRAVENOSA",
    58: "VÍA SUBCUTÁNEA",
    30: "VÍA INTRAMUSCULAR",
    9: "USO CUTÁNEO",
    31: "VÍA INHALATORIA",
    49: "VÍA OFTÁLMICA",
    55: "VÍA RECTAL",
    64: "VÍA VAGINAL",
    39: "VÍA NASAL",
    60: "VÍA SUBLINGUAL",
    61: "VÍA TÓPICA",
}

_TABLET: Item = {"id": 10, "nombre": "COMPRIMIDO"}
_INJECTED: Item = {"id": 34, "nombre": "INYECTABLE"}
_ORAL_LIQUID: Item = {"id": 38, "nombre": "SOLUCIÓN/SUSPENSIÓN ORAL"}
_CREAM: Item = {"id": 21, "nombre": "CREMA"}

FORMS: tuple[Form, ...] = (
    Form(42, "COMPRIMIDO RECUBIERTO CON PELÍCULA", _TABLET, (48,), ("mg",), "{n} comprimidos"),
    Form(41, "COMPRIMIDO", _TABLET, (48,), ("mg", "µg"), "{n} comprimidos (Blister)"),
    Form(18, "CÁPSULA DURA", {"id": 7, "nombre": "CÁPSULA"}, (48,), ("mg",), "{n} cápsulas"),
    Form(207, "SOLUCIÓN INYECTABLE", _INJECTED, (42, 30), ("mg", "mg/ml", "UI"), "{v} viales de {m} ml"),
    Form(56, "COMPRIMIDO GASTRORRESISTENTE", _TABLET, (48,), ("mg",), "{n} comprimidos (frasco)"),
    Form(1286, "SOLUCIÓN INYECTABLE EN JERINGA PRECARGADA", _INJECTED, (58,), ("mg", "µg", "UI"),
         "{v} jeringas precargadas de {m} ml"),
    Form(189, "POLVO PARA SOLUCIÓN PARA PERFUSIÓN", _INJECTED, (42,), ("mg", "g"), "{v} vial"),
    Form(43, "COMPRIMIDO EFERVESCENTE", {"id": 13, "nombre": "COMPRIMIDO EFERVESCENTE"}, (48,), ("mg", "g"),
         "{n} comprimidos"),
    Form(210, "SOLUCIÓN ORAL", _ORAL_LIQUID, (48,), ("mg/ml", "mg"), "1 frasco de {m}0 ml"),
    Form(63, "CREMA", _CREAM, (9, 61), ("mg/g", "%"), "1 tubo de {m}0 g"),
    Form(72, "COLIRIO EN SOLUCIÓN", {"id": 18, "nombre": "COLIRIO"}, (49,), ("mg/ml", "%"), "1 frasco de 5 ml"),
    Form(153, "GRANULADO PARA SUSPENSIÓN ORAL", _ORAL_LIQUID, (48,), ("mg", "g"), "{n} sobres"),
    Form(275, "SUPOSITORIO", {"id": 47, "nombre": "SUPOSITORIO"}, (55,), ("mg",), "{n} supositorios"),
    Form(92, "EMULSIÓN PARA PERFUSIÓN", _INJECTED, (42,), ("g", "ml", "mmol"), "{v} bolsas de {m}0 ml"),
    Form(131, "GAS COMPRIMIDO MEDICINAL", {"id": 30, "nombre": "GAS"}, (31,), ("%",), "1 bala de gas de {m} l"),
    Form(240, "SUSPENSIÓN PARA PULVERIZACIÓN NASAL", {"id": 35, "nombre": "NASAL"}, (39,), ("µg", "µg/dosis"),
         "1x{n} pulverizaciones"),
    Form(281, "SOLUCIÓN INYECTABLE RADIOFÁRMACO", _INJECTED, (42,), ("MBq/ml", "GBq"), "1 vial de {m} ml"),
    Form(300, "ÓVULO", {"id": 40, "nombre": "ÓVULO"}, (64,), ("mg",), "{n} óvulos"),
)  # fmt: skip

EXCIPIENTS: tuple[tuple[int, str], ...] = (
    (1001, "LACTOSA MONOHIDRATO"), (1002, "SACAROSA"), (1003, "ALMIDON DE MAIZ"), (1004, "MANITOL (E-421)"),
    (1005, "SORBITOL (E-420)"), (1006, "ASPARTAMO (E-951)"), (1007, "PROPILENGLICOL"), (1008, "ETANOL"),
    (1009, "CLORURO DE SODIO"), (1010, "ALCOHOL BENCILICO"), (1011, "CITRATO DE SODIO (E-331)"),
    (1012, "CROSCARMELOSA SODICA"), (1013, "ACEITE DE RICINO"), (1014, "PARAHIDROXIBENZOATO DE METILO (E-218)"),
    (1015, "GLICEROL (E-422)"), (1016, "LECITINA DE SOJA"), (1017, "AMARILLO NARANJA S (E-110)"),
    (1018, "HIDROXIDO DE SODIO (E-524)"), (1019, "GLUCOSA"), (1020, "TARTRAZINA (E-102)"),
)  # fmt: skip

SUPPLY = ("Medicamento Sujeto A Prescripción Médica", "Uso Hospitalario", "Diagnóstico Hospitalario", "Sin Receta")
GROUPS = tuple(f"{letter}{n:02}" for letter in "ABCDGHJLMNPRSV" for n in (1, 2, 3, 5))
"""Anatomical and therapeutic groups (ATC, levels 1 and 2)."""

_STARTS = "abi alo beta cefu dora eri feno gali hexi iso keto levo meto neo oxi pira quina rami sulfo tele".split()
_MIDDLES = "bana clora dipi fena lomi mexa nada penti rola sira tami vasta".split()
_ENDS = "pril mab tinib zol cilina sartan vir statina caina micina".split()
_FIRMS = "Alborada Brezal Carmesol Duero Encinar Fontalba Galerna Hontanar Iruela Jarama Kemira Lindero".split()
_FIRMS += "Monteazul Naranjal Olivares Pizarral Quejigo Robledal Salobre Tormes Umbral Valdeoro Yelmo Zarzal".split()
_KINDS = "Farma Pharma Healthcare Biotech Medicamentos Genéricos Laboratorios Salud Ibérica".split()
_LEGAL = ("S.A.", "S.L.", "S.A.U.", "S.L.U.", "Gmbh", "B.V.", "Ltd", "Limited")

HOLDERS = 1_300
SUBSTANCES = len(_STARTS) * len(_MIDDLES) * len(_ENDS)


@cache
def substances() -> tuple[Substance, ...]:
    names = ["".join(parts) for parts in product(_STARTS, _MIDDLES, _ENDS)]
    dice("substances").shuffle(names)
    return tuple(
        Substance(
            id=40 + 3 * n,
            codigo=f"{40 + 3 * n}{('A', 'OV', 'OX', 'CH')[n % 4]}",
            nombre=name.upper(),
            atc=f"{GROUPS[n % len(GROUPS)]}{'ABCD'[n % 4]}{'ABCX'[n // 4 % 4]}{1 + n // 56 % 60:02}",
            vtm=100_000_011_000_140_001 + 10 * n,
        )
        for n, name in enumerate(names)
    )


@cache
def holders() -> tuple[str, ...]:
    """Exact names; some differ from another one in punctuation, capitals or legal form alone, as in the register."""
    bases = [f"{kind} {firm}" if odd else f"{firm} {kind}" for firm in _FIRMS for kind in _KINDS for odd in (0, 1)]
    names = dict.fromkeys(f"{base}, {legal}" for legal in _LEGAL for base in bases)
    exact = list(names)[: HOLDERS - 120]
    doubles = [_double(name, n) for n, name in enumerate(exact[:240:2])]
    rng = dice("holders")
    mixed = [*exact, *doubles]
    rng.shuffle(mixed)
    return tuple(mixed)


def _double(name: str, n: int) -> str:
    return (name.replace(", ", " "), name.upper(), name.replace(".", ""))[n % 3]


def brand(rng: Random) -> str:
    """A trade name."""
    return (
        rng.choice(_STARTS) + rng.choice(("", "va", "li", "so")) + rng.choice(("x", "n", "ten", "dol", "ma", "ris"))
    ).upper()
