"""What is familiar is not looked at again, and nothing that is wrong becomes familiar."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tsi_fetch.fhir import validation
from tsi_fetch.fhir.familiar import MOST, Familiar
from tsi_fetch.fhir.validation import validate
from tsi_fetch.words import Ref

REF = Ref("Composition", "c-1")
DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>{}</p></div>'


def section(number: int, words: str) -> dict[str, Any]:
    return {
        "title": f"{number}. {words}",
        "code": {"coding": [{"system": "https://spor.invalid/sections", "code": f"1000{number}"}]},
        "text": {"status": "additional", "div": DIV.format(words)},
    }


def composition(words: str, sections: int = 4) -> dict[str, Any]:
    return {
        "resourceType": "Composition",
        "id": "c-1",
        "status": "final",
        "type": {"text": "leaflet"},
        "date": "2026-03-02",
        "author": [{"display": "somebody"}],
        "title": words,
        "section": [{"title": "leaflet", "section": [section(n, words) for n in range(sections)]}],
    }


def encoded(resource: dict[str, Any]) -> bytes:
    return json.dumps(resource, ensure_ascii=False).encode()


def test_other_words_under_other_titles_are_familiar() -> None:
    familiar = Familiar()
    whole, kinds = familiar.without(encoded(composition("uno")))
    assert (json.loads(whole), len(kinds)) == (composition("uno"), 4)
    familiar.learn(kinds)
    left, again = familiar.without(encoded(composition("dos")))
    assert [s["title"] for s in json.loads(left)["section"][0]["section"]] == ["0. dos"]
    assert len(again) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"title": ""},
        {"title": " "},
        {"title": 7},
        {"title": None},
        {"text": {"status": "additional", "div": 7}},
        {"text": {"status": "nonsense", "div": DIV}},
        {"text": {"status": "additional", "div": DIV, "id": "x"}},
        {"text": "words"},
        {"code": {"coding": [{"code": "another"}]}},
        {"surprise": True},
    ],
)
def test_what_differs_in_anything_else_is_not_familiar(change: dict[str, Any]) -> None:
    familiar = Familiar()
    familiar.learn(familiar.without(encoded(composition("uno")))[1])
    other = composition("uno")
    other["section"][0]["section"][2] |= change
    left = json.loads(familiar.without(encoded(other))[0])
    assert other["section"][0]["section"][2] in left["section"][0]["section"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"section": 1}', b'{"section": [1]}', b'{"title": "\xff"}', b"[" * 9000]
)
def test_what_is_no_composition_stays_as_it_is(body: bytes) -> None:
    assert Familiar().without(body) == (body, ())


def test_it_does_not_grow_without_end() -> None:
    familiar = Familiar()
    for n in range(MOST + 10):
        familiar.learn([n.to_bytes(16, "big")])
    assert len(familiar._sound) <= MOST


def test_a_fault_is_told_by_its_place_in_the_whole() -> None:
    assert validate(encoded(composition("uno")), REF, "R5") == ()
    wrong = composition("dos")
    wrong["section"][0]["section"][3]["surprise"] = 1
    [fault] = validate(encoded(wrong), REF, "R5")
    assert fault.path == "section.0.section.3.surprise"
    assert validate(encoded(wrong), REF, "R5") == (fault,)  # nor did it become familiar


def test_a_narrative_that_is_none_is_found_in_a_familiar_section() -> None:
    assert validate(encoded(composition("uno")), REF, "R5") == ()
    wrong = composition("dos")
    wrong["section"][0]["section"][3]["text"]["div"] = DIV.format("<p>")
    assert [f.code for f in validate(encoded(wrong), REF, "R5")] == ["fhir-narrative"]


def _harm(rng: Random, node: Any) -> None:
    """Change one thing somewhere."""
    if isinstance(node, list) and node and rng.random() < 0.9:
        return _harm(rng, rng.choice(node))
    if isinstance(node, dict) and node:
        name = rng.choice(sorted(node))
        if isinstance(node[name], dict | list) and rng.random() < 0.8:
            return _harm(rng, node[name])
        changes: list[Callable[[], object]] = [
            lambda: node.pop(name),
            lambda: node.update({name: rng.choice(["", " ", 1, None, [], {}, "x", [None], DIV.format("x")])}),
            lambda: node.update({f"_{name}": rng.choice([{"id": "x"}, {}, 1])}),
            lambda: node.update({"extra": 1}),
        ]
        rng.choice(changes)()
    return None


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_judged_otherwise_than_by_the_model_alone(seed: int) -> None:
    rng, model, refused = Random(seed), validation._model("R5", "Composition"), 0
    for n in range(60):
        harmed = copy.deepcopy(composition(f"producto {n}", rng.randrange(6)))
        _harm(rng, harmed["section"])
        body = encoded(harmed)
        alone = validation._of_model(model, body, REF, "R5")
        found = validate(body, REF, "R5")
        refused += bool(alone)
        assert alone in (found, ()), harmed
        assert alone == found or [f.code for f in found] == ["fhir-narrative"], harmed
    assert 10 < refused < 60
