"""What happens beside a product's own answer: notes, materials and supply problems come, change and go, each told by a
row of the feed that names its flag alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.register_story import RegisterStory

NOTES, MATERIALS, SUPPLY = "notasSeguridad", "matinf", "psum"
BEGAN = int(datetime(2026, 2, 10, 23, tzinfo=UTC).timestamp() * 1000)
DAY = 86_400_000
KINDS = range(1, 10)  # of a supply problem


def _gets_a_note(story: RegisterStory) -> bool:
    def get(key: str, number: int) -> None:
        day = BEGAN + number * DAY
        note = {"tipo": number % 2 + 1, "referencia": f"MUH, {number}/2026", "asunto": f"Aviso {number}", "fecha": day}
        story.register.notes.setdefault(key, []).append({**note, "url": f"https://aemps.invalid/nota/{key}/{number}"})

    return _to_some(story, NOTES, get)


def _loses_a_note(story: RegisterStory) -> bool:
    return _to_some(story, NOTES, lambda key, _: story.register.notes[key].pop(0), among=story.register.notes)


def _gets_material(story: RegisterStory) -> bool:
    def get(key: str, number: int) -> None:
        paper = {"nombre": f"Guía {number}", "url": f"https://cima.invalid/{key}/{number}.pdf", "fecha": BEGAN}
        for_whom = story.dice.choice(["listaDocsPaciente", "listaDocsProfesional"])
        story.register.materials.setdefault(key, []).append({"medicamento": "TODOS", for_whom: [paper]})

    return _to_some(story, MATERIALS, get)


def _loses_material(story: RegisterStory) -> bool:
    return _to_some(
        story, MATERIALS, lambda key, _: story.register.materials[key].pop(), among=story.register.materials
    )


def _runs_short(story: RegisterStory) -> bool:
    """Of a pack, or another problem takes the place of the one there was."""

    def begin(key: str, number: int) -> None:
        packs = story.register.products[key].get("presentaciones", [])
        pack = story.dice.choice(packs) if packs else {"cn": f"{key}x"}
        began = BEGAN + number * DAY
        about = {"cn": pack["cn"], "nombre": f"ENVASE {number}", "activo": True, "observ": f"Aviso {number}"}
        kind = story.dice.choice(KINDS)
        story.register.supply[pack["cn"]] = {**about, "tipoProblemaSuministro": kind, "fini": began}

    return _to_some(story, SUPPLY, begin)


def _is_to_be_had_again(story: RegisterStory) -> bool:
    """The problem is over: the register shows it no longer, or says so for a while."""
    short = {key for key in story.register.products if _short(story, key)}

    def end(key: str, number: int) -> None:
        cn = story.dice.choice(sorted(_short(story, key)))
        if number % 3:
            del story.register.supply[cn]
        else:
            story.register.supply[cn] = {**story.register.supply[cn], "activo": False, "ffin": BEGAN + 60 * DAY}

    return _to_some(story, SUPPLY, end, among=dict.fromkeys(short, True))


def _several_at_once(story: RegisterStory) -> bool:
    """Rows of one product whose flags are looked at together."""
    return any([act(story) for act in story.dice.choices([_gets_a_note, _gets_material, _runs_short], k=3)])


SIDE_ACTS: dict[str, tuple[int, Callable[[RegisterStory], bool]]] = {
    "gets a note": (2, _gets_a_note),
    "loses a note": (1, _loses_a_note),
    "gets material": (2, _gets_material),
    "loses material": (1, _loses_material),
    "runs short": (2, _runs_short),
    "is to be had again": (1, _is_to_be_had_again),
    "has several things told beside": (1, _several_at_once),
}


def _short(story: RegisterStory, key: str) -> set[str]:
    packs = story.register.products[key].get("presentaciones", [])
    return {pack["cn"] for pack in packs if pack["cn"] in story.register.supply}


def _to_some(
    story: RegisterStory, flag: str, change: Callable[[str, int], Any], among: dict[str, Any] | None = None
) -> bool:
    some = sorted(key for key in story.register.products if among is None or among.get(key))
    if not some:
        return False
    key = story.dice.choice(some)
    change(key, story.number())
    _say_so(story, key)
    story.tell_beside(key, flag)
    return True


def _say_so(story: RegisterStory, key: str) -> None:
    """The product's own answer has a member for each, which is all that it says of them."""
    product, short = story.register.products[key], _short(story, key)
    product["notas"], product["materialesInf"] = (
        bool(story.register.notes.get(key)),
        bool(story.register.materials.get(key)),
    )
    product["psum"] = bool(short)
    for pack in product.get("presentaciones", []):
        pack["psum"] = pack["cn"] in short
