"""What writing one resource over another would alter: paths, values as written, and the words of narratives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tsi_fetch.fhir.alterations import MOST_ALIGNED, alterations
from tsi_fetch.fhir.prose import CONTEXT, lines, places
from tsi_fetch.fhir.tokens import NotJson, dump

XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'


def _told(held: str, sent: str) -> list[str]:
    """Path, old → new, as they would be written."""
    return [dump(one.to_json()).decode() for one in alterations(held.encode(), sent.encode())]


def _body(**members: Any) -> str:
    return json.dumps({"resourceType": "Basic", "id": "x", **members})


def _div(inner: str) -> str:
    return f"<div {XHTML}>{inner}</div>"


@pytest.mark.parametrize(
    ("held", "sent", "expected"),
    [
        ('{"v":1.0}', '{"v":1.00}', ['{"path":"/v","old":1.0,"new":1.00}']),
        ('{"v":1.10}', '{"v":1.10 }', []),
        ('{"v":1234567890123456789012}', '{"v":1}', ['{"path":"/v","old":1234567890123456789012,"new":1}']),
        ('{"a/b":{"c~d":1}}', '{"a/b":{"c~d":2}}', ['{"path":"/a~1b/c~0d","old":1,"new":2}']),
        ('{"gone":null}', "{}", ['{"path":"/gone","old":null}']),
        ("{}", '{"new":{"deep":[1]}}', ['{"path":"/new","new":{"deep":[1]}}']),
        ('{"t":"1"}', '{"t":1}', ['{"path":"/t","old":"1","new":1}']),
        ('{"b":true}', '{"b":1}', ['{"path":"/b","old":true,"new":1}']),
        ("[1]", '{"a":1}', ['{"path":"","old":[1],"new":{"a":1}}']),
    ],
)
def test_each_difference_has_its_pointer_and_its_values_as_written(held: str, sent: str, expected: list[str]) -> None:
    assert _told(held, sent) == expected


def test_what_is_inserted_into_a_list_moves_none_of_the_others() -> None:
    old = [{"code": str(n)} for n in range(5)]
    new = [{"code": "first"}, *old[:3], {"code": "changed"}]
    assert _told(_body(item=old), _body(item=new)) == [
        '{"path":"/item/0","new":{"code":"first"}}',
        '{"path":"/item/4/code","old":"3","new":"changed"}',
        '{"path":"/item/4","old":{"code":"4"}}',
    ]


def test_a_very_long_list_is_compared_place_by_place() -> None:
    old = list(range(MOST_ALIGNED + 1))
    told = _told(_body(item=old), _body(item=[*old[:-1], -1]))
    assert told == [f'{{"path":"/item/{MOST_ALIGNED}","old":{MOST_ALIGNED},"new":-1}}']


def test_what_a_server_adds_or_spells_otherwise_is_no_difference_beside_a_real_one() -> None:
    held = _body(
        meta={"versionId": "3", "lastUpdated": "2026-01-01", "tag": [{"code": "b"}, {"code": "a"}]},
        text={"status": "generated", "div": _div("made")},
        n="old",
        contained=[{"resourceType": "Basic", "meta": {"versionId": "1"}}],
    ).replace('"old"', '"old", "e": 1e2')
    sent = _body(meta={"tag": [{"code": "a"}, {"code": "b"}]}, n="new", e=100, contained=[{"resourceType": "Basic"}])
    assert _told(held, sent) == ['{"path":"/n","old":"old","new":"new"}']


def test_where_nothing_but_the_spelling_differs_that_is_told() -> None:
    assert _told('{"e":1e2}', '{"e":100}') == ['{"path":"/e","old":1e2,"new":100}']
    assert _told('{ "e": 100 }', '{"e":100}') == []


def test_of_a_narrative_the_words_are_told_with_a_few_around_them() -> None:
    held = _body(
        text={"status": "additional", "div": _div("<p>Tome un comprimido cada d&iacute;a con agua.</p><p>Y</p>")}
    )
    sent = _body(text={"status": "additional", "div": _div("<p>Tome dos comprimidos cada día con agua.</p><p>Y</p>")})
    [one] = alterations(held.encode(), sent.encode())
    assert one.path == "/text/div"
    assert one.to_json()["words"] == [
        {"before": "Tome", "old": "un comprimido", "new": "dos comprimidos", "after": "cada día con agua."}
    ]


def test_a_narrative_of_which_only_the_markup_differs_says_so_by_naming_no_words() -> None:
    held, sent = (_body(text={"div": _div(f"<{tag}>Y</{tag}>")}) for tag in ("p", "h1"))
    [one] = alterations(held.encode(), sent.encode())
    assert (one.path, one.to_json()["words"]) == ("/text/div", [])


def test_places_near_each_other_are_one_and_far_ones_are_two() -> None:
    near = places(_div("a b c d"), _div("A b c D"))
    assert [(p.old, p.new) for p in near] == [("a b c d", "A b c D")]
    between = " ".join("x" * (CONTEXT * 2 + 1))
    far = places(_div(f"a {between} d"), _div(f"A {between} D"))
    assert [(p.old, p.new) for p in far] == [("a", "A"), ("d", "D")]


def test_lines_are_paragraphs_items_and_cells_and_their_words_alone() -> None:
    div = _div(
        "before<p>one <b>bold</b>\n word</p><ul><li>item</li></ul><table><tr><td>a</td><td>b</td></tr></table>tail"
    )
    assert lines(div) == ["before", "one bold word", "item", "a", "b", "tail"]
    assert lines("<div>no <p> xml &c") == ["<div>no <p> xml &c"]
    assert lines(_div("<!-- unseen -->5 &lt; 6&nbsp;mg")) == ["5 < 6 mg"]


def test_what_is_no_json_cannot_be_compared() -> None:
    with pytest.raises(NotJson):
        alterations(b"{", b"{}")


def test_no_value_is_in_a_repr() -> None:
    [one] = alterations(b'{"a":"secret"}', b'{"a":"hidden"}')
    assert repr(one) == "Alteration(path='/a', places=None)"
