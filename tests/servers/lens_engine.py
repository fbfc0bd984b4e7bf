"""A document Bundle as FOSPS's readers take it: what they reach for unguarded, and how they cut the text up.

Written after those readers' behaviour, and with nothing of ours: the lens engine joins all sections' divs to one text,
splits that at `div[xmlns]` and titles the pieces by the index of the section in the second level.
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any


@dataclass(frozen=True)
class Section:
    """One section of the page: its title, and the text that the reader puts below it, as HTML and as words."""

    title: str
    html: str
    words: str


@dataclass(frozen=True)
class Document:
    """What a page is made of; `joined`: the text that lenses work on."""

    title: str
    heading: str
    sections: tuple[Section, ...]
    joined: str


def opened(bundle: Any) -> Document:
    """Take a document apart; KeyError and IndexError where something is missing that the readers take for granted."""
    composition = bundle["entry"][0]["resource"]
    assert composition["resourceType"] == "Composition"
    assert composition["language"] == "es"
    assert composition["category"][0]["coding"][0]["code"] == "R"
    assert "extension" not in composition
    outer = composition["section"][0]
    titles = [section["title"] for section in outer["section"]]
    joined = "".join(section["text"]["div"] for section in outer["section"])
    pieces = split(joined)
    # As the engine does: whatever the pieces are, the n-th goes below the n-th title.
    sections = tuple(Section(title, *piece) for title, piece in zip(titles, pieces, strict=True))
    return Document(composition["title"], outer["title"], sections, joined)


def split(joined: str) -> list[tuple[str, str]]:
    """Of each outermost `div[xmlns]` what is inside, as HTML and as words."""
    splitter = _Splitter()
    splitter.feed(joined)
    splitter.close()
    assert not splitter.depth, "a div was never closed"
    return [("".join(html), "".join(words)) for html, words in splitter.pieces]


class _Splitter(HTMLParser):
    """Reads as HTML: the slash of `<div/>` means nothing, and what follows is inside that div."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.depth = 0
        self.pieces: list[tuple[list[str], list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "div" and any(name == "xmlns" for name, _ in attrs):
            assert not self.depth, "a text within another"
            self.pieces.append(([], []))
        else:
            self._take(self.get_starttag_text() or "")
        self.depth += tag == "div"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "div"
        if self.depth:
            self._take(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._take(data, data)

    def handle_entityref(self, name: str) -> None:
        self._take(f"&{name};", {"amp": "&", "lt": "<", "gt": ">", "quot": '"'}[name])

    def _take(self, html: str, words: str = "") -> None:
        html_pieces, word_pieces = self.pieces[-1]
        html_pieces.append(html)
        word_pieces.append(words)
