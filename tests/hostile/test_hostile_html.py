"""HTML of a register's texts: no entity of its own, nothing fetched, bounded depth, and work that grows with the size.

XML is not read anywhere.  What the cleaner does with active content, and that no word goes, is in
tests/tsi_fetch/fhir/test_narrative.py.
"""

from __future__ import annotations

import cProfile
import pstats
import socket
import time
from pathlib import Path

import pytest
from lxml import etree

from tsi_fetch.fhir.narrative import MAX_DEPTH, paragraph, visible, xhtml

LAUGHS = (
    "<!DOCTYPE lolz [<!ENTITY lol 'PLANTED'>"
    + "".join(f"<!ENTITY lol{n} '{f'&lol{n - 1 or str()};' * 10}'>" for n in range(1, 10))
    + "]><p>&lol9;</p>"
)


def test_entities_that_a_text_declares_are_never_expanded() -> None:
    div = xhtml(LAUGHS)
    assert len(div) < 4 * len(LAUGHS)
    assert visible(div).count("PLANTED") <= 1
    assert "&lol9;" in visible(div)
    etree.fromstring(div)


@pytest.mark.parametrize("where", ["file://{path}", "{path}"])
def test_a_file_is_never_read(where: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("PLANTED")
    url = where.format(path=path)
    for text in (
        f'<!DOCTYPE x [<!ENTITY x SYSTEM "{url}">]><p>&x;</p>',
        f'<!DOCTYPE x SYSTEM "{url}"><p>a</p>',
        f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{url}" parse="text"/>',
        f'<object data="{url}"></object><embed src="{url}"><iframe src="{url}"></iframe>',
    ):
        assert "PLANTED" not in xhtml(text)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that anybody connects to or asks for."""
    asked: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: asked.append(args))
    return asked


def test_nothing_is_fetched_for_a_text(no_network: list[object]) -> None:
    url = "http://elsewhere.invalid/x"
    div = xhtml(
        f'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "{url}.dtd"><base href="{url}">'
        f'<link rel=stylesheet href="{url}"><style>@import url({url})</style><script src="{url}"></script>'
        f'<img src="{url}.png" alt="a"><p style="background:url({url})">b</p><?xml-stylesheet href="{url}"?>'
    )
    assert no_network == []
    assert visible(div).split() == ["a", "b"]
    assert "elsewhere" not in div  # nor by whoever reads it


@pytest.mark.parametrize("depth", [MAX_DEPTH, 5_000])
@pytest.mark.parametrize("opening", ["<b>", "<div>", "<p><b>", "<table><tr><td>", "<ul><li>", "<svg><g>", "<a href=x>"])
def test_what_is_nested_without_end_has_a_bounded_depth(opening: str, depth: int) -> None:
    div = xhtml(opening * depth + "words")
    levels = [sum(1 for _ in node.iterancestors()) for node in etree.fromstring(div).iter()]
    assert max(levels) <= MAX_DEPTH + 5
    assert visible(div).split() == ["words"]


GROWING = {
    "paragraphs": "<p>uno",
    "closed paragraphs": "<p>uno</p>",
    "elements that never close": "<b>",
    "crossed elements": "<b><i>x</b>",
    "links in links": "<a href=x>y",
    "attributes": '<p class="a" title="b" onclick="c">',
    "less-than signs": "<",
    "ampersands": "&",
    "half entities": "&am",
    "entities": "&aacute;",
    "comments that never close": "<!--",
    "comments": "<!-- -- -->",
    "processing instructions": "<?x ",
    "ends without a start": "</p></b>",
    "cells": "<table><tr><td>",
    "rows": "<tr><td>x",
    "list items": "<li>x",
    "forms": "<form><input>",
    "scripts": "<script>x</script>",
    "blanks": " \n\t",
    "quotes": "<a href='",
    "foreign elements": "<svg><math>",
    "controls": "\x00\x01",
    "styles": '<p style="font-weight:bold;;;x:y">',
}


def steps(text: str) -> int:
    """Calls of functions that it takes, whoever makes them."""
    profile = cProfile.Profile()
    profile.runcall(xhtml, text)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", GROWING)
def test_four_times_the_text_is_about_four_times_the_work_and_the_result(case: str) -> None:
    small, large = GROWING[case] * 1_000, GROWING[case] * 4_000
    assert steps(large) < 6 * steps(small) + 2_000
    assert len(xhtml(large)) < 10 * len(large) + 500


def seconds(text: str) -> float:
    """Processor time, the best of three."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        xhtml(text)
        taken.append(time.process_time() - begun)
    return min(taken)


@pytest.mark.parametrize("opening", ["<div>x", "<ul><li>", "<b><i><u>x</b>", "<DIV A='<'>", "<div></p></x>"])
def test_what_is_nested_deeper_is_not_read_in_the_square_of_the_time(opening: str) -> None:
    """Where the readers' own work shows, which `steps` does not see; to nest four times as deep took them 16 times."""
    assert seconds(opening * 16_000) < 8 * seconds(opening * 4_000) + 0.25
    assert letters(xhtml(opening * 4_000 + "words")) >= set("words")


def letters(div: str) -> set[str]:
    return set(visible(div))


def test_a_title_is_text_and_nothing_else() -> None:
    div = paragraph("<script>x</script>&lol;\0]]>")
    assert etree.fromstring(div)[0].text == "<script>x</script>&lol;]]>"
