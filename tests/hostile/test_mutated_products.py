"""Thousands of changed answers of CIMA through the real source, judge and loop, store and sink; only the wire is faked.

`TSI_MUTATIONS` says how many (2,000 without it); a failing trial is named, and `TSI_TRIAL=<number>` runs it alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.hostile.mutated_products import Product, Trial, World, check_run, check_trial, chunks, product_of
from tests.hostile.mutations import ALL_KINDS

COUNT = int(os.environ.get("TSI_MUTATIONS", "2000"))
ONLY = os.environ.get("TSI_TRIAL")
TRIALS = [int(ONLY)] if ONLY else range(COUNT)


def tried(world: World, number: int, products: Sequence[Product]) -> list[Trial]:
    """One run, checked.  Every third one is validated; every tenth writes into a folder."""
    validate, files = ("refuse", "off", "off")[number % 3], number % 10 == 9
    report, trials = world.run(products, files=files, validate=validate)
    for trial in trials:
        try:
            check_trial(trial)
        except AssertionError as e:
            raise AssertionError(f"{trial.product}\nTSI_TRIAL={trial.product.trial}: {e}") from e
    check_run(report, trials)
    return trials


def alone(world: World, number: int, products: Sequence[Product]) -> None:
    """Find which of the products of a failed run it is."""
    for product in products:
        try:
            tried(world, number, [product])
        except Exception as e:
            raise AssertionError(f"{product}\nTSI_TRIAL={product.trial}: {type(e).__name__} {e}") from e


def test_every_changed_answer_is_mapped_or_in_quarantine(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    world, fates, kinds = World(tmp_path), Counter[str](), Counter[str]()
    neutral = 0
    for number, some in enumerate(chunks(TRIALS)):
        products = [product_of(trial) for trial in some]
        try:
            trials = tried(world, number, products)
        except Exception:
            alone(world, number, products)
            raise
        fates.update(trial.fate for trial in trials)
        kinds.update(trial.product.mutation.kind for trial in trials)
        neutral += sum(trial.product.mutation.neutral for trial in trials)
    record_property("mutations", sum(fates.values()))
    print(f"\n{sum(fates.values())} mutations: {dict(fates)}, {neutral} neutral; {dict(kinds)}")
    if not ONLY and COUNT >= 1000:
        share = {fate: number / sum(fates.values()) for fate, number in fates.items()}
        assert share["refused"] > 0.1
        assert share["unfetched"] > 0.05
        assert share["mapped"] > 0.3
        assert 0 < share["gone"] < 0.05
        assert neutral > 0.1 * COUNT
        assert set(kinds) == ALL_KINDS


def test_a_trial_is_the_same_whenever_it_is_made() -> None:
    one, two = product_of(77), product_of(77)
    assert (one.number, one.call, one.mutation) == (two.number, two.call, two.mutation)


@pytest.mark.parametrize("trial", [1, 2, 3, 4, 5, 6])
def test_a_register_without_a_change_is_mapped_whole(trial: int, tmp_path: Path) -> None:
    product = product_of(trial)
    clean = Product(trial, product.number, product.answers, "nothing", product.mutation)
    _, (found,) = World(tmp_path).run([clean], files=False, validate="refuse")
    assert found.fate == "mapped"
