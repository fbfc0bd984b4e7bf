"""What becomes of a product as a whole, and of what hangs on it: it is suspended, revoked and allowed again, a pack is
withdrawn alone, a document or a photo goes and comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.register_story import RegisterStory

SUSPENDED, REVOKED = 1_770_678_000_000, 1_771_282_800_000  # 10 and 17 February 2026 in Madrid


def _is_suspended(story: RegisterStory) -> bool:
    return _to_some(story, lambda p: "susp" not in p["estado"], lambda p: p["estado"].update(susp=SUSPENDED))


def _is_revoked(story: RegisterStory) -> bool:
    return _to_some(story, lambda p: "rev" not in p["estado"], lambda p: p["estado"].update(rev=REVOKED))


def _is_allowed_again(story: RegisterStory) -> bool:
    def allow(product: Any) -> None:
        product["estado"] = {"aut": product["estado"]["aut"]}

    return _to_some(story, lambda p: len(p["estado"]) > 1, allow)


def _has_a_pack_withdrawn(story: RegisterStory) -> bool:
    def withdraw(product: Any) -> None:
        pack = story.dice.choice([p for p in product["presentaciones"] if "rev" not in p["estado"]])
        pack["estado"]["rev"] = REVOKED
        if found := story.register.presentations.get(pack["cn"]):
            found["estado"]["rev"] = REVOKED

    return _to_some(story, lambda p: any("rev" not in one["estado"] for one in p.get("presentaciones", [])), withdraw)


def _loses_a_document(story: RegisterStory) -> bool:
    def lose(product: Any) -> None:
        gone = product["docs"].pop(story.dice.randrange(len(product["docs"])))
        story.lost_documents.setdefault(product["nregistro"], []).append(gone)

    return _to_some(story, lambda p: bool(p.get("docs")), lose)


def _finds_a_document(story: RegisterStory) -> bool:
    lost = story.lost_documents

    def find(product: Any) -> None:
        product["docs"].append(lost[product["nregistro"]].pop())

    return _to_some(story, lambda p: bool(lost.get(p["nregistro"])), find)


def _loses_a_photo(story: RegisterStory) -> bool:
    return _to_some(story, lambda p: bool(p.get("fotos")), lambda p: p["fotos"].pop())


STANDING_ACTS: dict[str, tuple[int, Callable[[RegisterStory], bool]]] = {
    "is suspended": (1, _is_suspended),
    "is revoked": (1, _is_revoked),
    "is allowed again": (2, _is_allowed_again),
    "has a pack withdrawn": (1, _has_a_pack_withdrawn),
    "loses a document": (2, _loses_a_document),
    "finds a document": (2, _finds_a_document),
    "loses a photo": (1, _loses_a_photo),
}


def _to_some(story: RegisterStory, among: Callable[[Any], bool], change: Callable[[Any], Any]) -> bool:
    products = story.register.products
    some = sorted(key for key in products if key not in story.spoilt and among(products[key]))
    if not some:
        return False
    key = story.dice.choice(some)
    change(products[key])
    story.tell_whole(key)
    return True
