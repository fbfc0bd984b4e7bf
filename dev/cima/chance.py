"""Chance that repeats: everything in the generated register is drawn from its seed and the name of what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import TypeVar

T = TypeVar("T")


def number(*names: object) -> int:
    """64 bits that belong to these names; the same in every process and on every machine."""
    return int.from_bytes(blake2b(repr(names).encode(), digest_size=8).digest(), "big")


def dice(*names: object) -> Random:
    """A source of chance of its own for these names."""
    return Random(number(*names))


def share(*names: object) -> float:
    """A number from 0 up to 1."""
    return number(*names) / 2**64


def early(rng: Random, of: Sequence[T]) -> T:
    """One of a sequence, those in front far more often than those behind: few firms hold most products."""
    return of[int(len(of) * rng.random() ** 2.5)]
