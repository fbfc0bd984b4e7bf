"""What a person reads of a narrative, and where two narratives read otherwise.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from lxml import etree

from tsi_fetch.fhir.equality import xhtml_tree

CONTEXT = 4
"""Words shown on either side of a place; places nearer to each other than twice that are told as one."""

MOST_COMPARED = 4_000_000
"""Pairs of lines, or of words, that are compared one by one; more than that would take seconds."""

_BLOCKS = frozenset(
    "address article blockquote br caption dd div dl dt fieldset figure footer h1 h2 h3 h4 h5 h6 header hr li ol p pre"
    " section table tbody td tfoot th thead tr ul".split()
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where words changed: the words around it, and what stood and stands between them."""

    before: str = field(repr=False)
    old: str = field(repr=False)
    new: str = field(repr=False)
    after: str = field(repr=False)


def lines(div: str) -> list[str]:
    """The visible words of XHTML, a line for each paragraph, cell or item; what is no XML is one line as it is."""
    root = xhtml_tree(div)
    if root is None:
        return [" ".join(div.split())]
    return [line for text in "".join(_words(root)).split("\n") if (line := " ".join(text.split()))]


def _words(root: etree._Element) -> Iterator[str]:
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if etree.QName(element).localname in _BLOCKS:
            yield "\n"
        text = element.text if event == "start" else element.tail
        if text and not (event == "end" and element is root):
            yield text.replace("\n", " ")


def places(old: str, new: str) -> tuple[Place, ...]:
    """Where the visible words of two pieces of XHTML differ, in their order; none where only the markup does."""
    before, after = lines(old), lines(new)
    found: list[Place] = []
    for tag, i1, i2, j1, j2 in _matched(before, after):
        if tag != "equal":
            found += _between(" ".join(before[i1:i2]).split(" "), " ".join(after[j1:j2]).split(" "))
    return tuple(found)


def _between(old: list[str], new: list[str]) -> Iterator[Place]:
    """The places in one stretch of lines."""
    if len(old) * len(new) > MOST_COMPARED:
        yield Place("", " ".join(old), " ".join(new), "")
        return
    for i1, i2, j1, j2 in _joined(_matched(old, new)):
        around = old[max(0, i1 - CONTEXT) : i1], old[i2 : i2 + CONTEXT]
        yield Place(" ".join(around[0]), " ".join(old[i1:i2]), " ".join(new[j1:j2]), " ".join(around[1]))


def _joined(steps: Sequence[tuple[str, int, int, int, int]]) -> Iterator[tuple[int, int, int, int]]:
    """What changed, with what is too near to stand apart."""
    at: tuple[int, int, int, int] | None = None
    for tag, i1, i2, j1, j2 in steps:
        if tag == "equal":
            continue
        if at and i1 - at[1] <= CONTEXT:
            at = (at[0], i2, at[2], j2)
            continue
        if at:
            yield at
        at = (i1, i2, j1, j2)
    if at:
        yield at


def _matched(old: Sequence[str], new: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    exact = len(old) * len(new) <= MOST_COMPARED
    return SequenceMatcher(None, old, new, autojunk=not exact).get_opcodes()
