"""A narrative that is no XHTML is refused before it is written: a folder would take it, and a server refuse it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tsi_fetch.fhir.validation import validate
from tsi_fetch.words import Ref

XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'


def _basic(div: str) -> Any:
    return {"resourceType": "Organization", "id": "a", "name": "x", "text": {"status": "additional", "div": div}}


def _faults(resource: Any) -> list[str]:
    ref = Ref(resource["resourceType"], resource["id"])
    return [fault.code for fault in validate(json.dumps(resource).encode(), ref, "R5")]


@pytest.mark.parametrize(
    "div",
    [
        f"<div {XHTML}><p>uno &amp; &nbsp;dos<br/></p></div>",
        "<div>no namespace, which servers add</div>",
        f'<div {XHTML}>"quoted" \\ and \u00e9 \U0001f48a</div>',
        f'<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:p>{"x" * 100_000}</h:p></h:div>',
    ],
)
def test_what_servers_take_is_sound(div: str) -> None:
    assert _faults(_basic(div)) == []


@pytest.mark.parametrize(
    "div",
    [
        f"<div {XHTML}><p>uno</div>",
        f"<div {XHTML}><span>uno</font></div>",
        f"<div {XHTML}>&copy</div>",
        f"<div {XHTML}>&nothing;</div>",
        f"<div {XHTML}><o:p>uno</o:p></div>",
        f"<p {XHTML}>uno</p>",
        f"<div {XHTML}>uno</div><div {XHTML}>dos</div>",
        f'<!DOCTYPE div [<!ENTITY a "b">]><div {XHTML}>&a;</div>',
        "uno",
    ],
)
def test_what_servers_refuse_is_refused(div: str) -> None:
    assert _faults(_basic(div)) == ["fhir-narrative"]


def test_what_was_found_sound_on_its_own_is_not_read_again_within_a_bundle() -> None:
    bad = _basic("<div><p></div>")
    bundle = {"resourceType": "Bundle", "id": "b", "type": "collection", "entry": [{"resource": bad}]}

    assert _faults(bundle) == ["fhir-narrative"]
    body = json.dumps(bundle, separators=(",", ":")).encode()
    seen = json.dumps(bad, separators=(",", ":")).encode()
    assert validate(body, Ref("Bundle", "b"), "R5", {seen}) == ()
