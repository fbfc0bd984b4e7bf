"""Sections of a text that are like thousands of others: the same codes, another title, other words.

A model looks at each of a section's elements, but takes any text for its narrative, and any that is not blank for its
title.  So a section in which nothing was found, these apart, is sound wherever it stands, and need not be looked at in
every product's text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import msgspec

MOST = 4_096
"""Kept; of a register's texts most sections are of some hundred kinds."""

_TITLE = re.compile(rb'"[!#-\[\]-~][^"\\\x00-\x1f\x7f]{0,300}"')
"""Of a section as it usually is: any other one is looked at."""

Members = dict[str, msgspec.Raw]
members: msgspec.json.Decoder[Members] = msgspec.json.Decoder(Members)
items: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_ANY, _NONE = msgspec.Raw(b'"x"'), msgspec.Raw(b"")


class Familiar:
    """The kinds of sections in which nothing was found, of one release."""

    def __init__(self) -> None:
        self._sound = set[bytes]()

    def without(self, body: bytes) -> tuple[bytes, Sequence[bytes]]:
        """A Composition without what is sound of it, and the kinds that are left; as it is where it has no sections.

        Of each list of sections the first stays: without any it would be another resource.
        """
        kinds: list[bytes] = []
        try:
            body.decode()  # what is cut out is not looked at by anybody else
            left = msgspec.json.encode(self._left(members.decode(body), kinds))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body, ()
        return left, kinds

    def learn(self, kinds: Sequence[bytes]) -> None:
        """Nothing was found in these."""
        if len(self._sound) + len(kinds) > MOST:
            self._sound.clear()
        self._sound.update(kinds)

    def _left(self, section: Members, kinds: list[bytes]) -> Members:
        if "section" not in section:
            return section
        left: list[Members] = []
        for item in map(members.decode, items.decode(section["section"])):
            kind = None if "section" in item else _kind(item)
            if kind is None or kind not in self._sound or not left:
                left.append(self._left(item, kinds))
                kinds += [kind] if kind else []
        return {**section, "section": msgspec.Raw(msgspec.json.encode(left))}


def _kind(section: Members) -> bytes:
    """A digest of all but its title and the words of its narrative."""
    section = dict(section)
    if _TITLE.fullmatch(section.get("title", _NONE)):
        section["title"] = _ANY
    if "text" in section:
        text = members.decode(section["text"])
        if bytes(text.get("div", _NONE))[:1] == b'"':
            text["div"] = _ANY
        section["text"] = msgspec.Raw(msgspec.json.encode(text))
    return hashlib.sha256(msgspec.json.encode(section)).digest()[:16]
