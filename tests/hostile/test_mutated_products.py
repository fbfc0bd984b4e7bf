"""Thousands of changed answers of CIMA through the real source, judge and loop, store and sink; only the wire is faked.

`TSI_MUTATIONS` says how many (2,000 without it); a failing trial is named, and `TSI_TRIAL=<number>` runs it alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.mutated_products import (
    Product,
    Trial,
    World,
    check_run,
    check_trial,
    chunks,
    clean_bodies,
    kind_of,
    product_of,
    resources,
    scopes_of,
)
from tests.hostile.mutations import ALL_KINDS, PLANTED, Mutation, written
from tsi_fetch.words import Fault

COUNT = int(os.environ.get("TSI_MUTATIONS", "2000"))
ONLY = os.environ.get("TSI_TRIAL")
TRIALS = [int(ONLY)] if ONLY else range(COUNT)


CALLS = frozenset({"medicamento", "presentacion", "contenido", "notas", "materiales", "psuministro"})
"""All that a product is mapped from."""


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
    world, fates, kinds, calls = World(tmp_path), Counter[str](), Counter[str](), Counter[str]()
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
        calls.update(kind_of(trial.product.call) for trial in trials)
        neutral += sum(trial.product.mutation.neutral for trial in trials)
    record_property("mutations", sum(fates.values()))
    print(f"\n{sum(fates.values())} mutations: {dict(fates)}, {neutral} neutral; {dict(calls)}; {dict(kinds)}")
    if not ONLY and COUNT >= 1000:
        share = {fate: number / sum(fates.values()) for fate, number in fates.items()}
        assert share["refused"] > 0.1
        assert share["unfetched"] > 0.05
        assert share["mapped"] > 0.3
        assert 0 < share["gone"] < 0.05
        assert neutral > 0.1 * COUNT
        assert set(kinds) == ALL_KINDS
        assert set(calls) == CALLS
        assert all(number > COUNT / 25 for number in calls.values())


def test_a_trial_is_the_same_whenever_it_is_made() -> None:
    one, two = product_of(77), product_of(77)
    assert (one.number, one.call, one.mutation) == (two.number, two.call, two.mutation)


@pytest.mark.parametrize(("trial", "code"), [(13_742, "cima-type"), (68_612, "cima-other-product")])
def test_what_a_long_fire_has_found_holds(trial: int, code: str, tmp_path: Path) -> None:
    """A national code of 90,000 characters; one that lost a digit, and is a part of the one that was asked for."""
    (found,) = tried(World(tmp_path), 0, [product_of(trial)])
    assert [trouble.fault.code for trouble in found.troubles] == [code]


@pytest.mark.parametrize("trial", [1, 2, 3, 4, 5, 6])
def test_a_register_without_a_change_is_mapped_whole(trial: int, tmp_path: Path) -> None:
    product = product_of(trial)
    clean = Product(trial, product.number, product.answers, "nothing", product.mutation)
    _, (found,) = World(tmp_path).run([clean], files=False, validate="refuse")
    assert found.fate == "mapped"
    assert resources(found.all) == resources(clean_bodies(product).all)
    assert sorted(found.bodies) == sorted(scopes_of(product))
    assert all(found.bodies.values())


def instead(product: Product, place: str, tree: Any) -> Product:
    """The product with another answer of its own."""
    call = next(iter(product.answers))
    return Product(1, product.number, product.answers, call, Mutation("another value", place, written(tree)))


def test_a_resource_that_may_not_be_written_lies_there_itself(tmp_path: Path) -> None:
    product = product_of(1)
    tree = deepcopy(product.answers[next(iter(product.answers))])
    tree["formaFarmaceutica"]["id"] = f"{PLANTED}  twice"  # FHIR's codes know no two blanks in a row
    _, (found,) = World(tmp_path).run([instead(product, ".formaFarmaceutica.id", tree)], files=False, validate="refuse")
    check_trial(found)
    assert {entry.fault.code for entry in found.troubles} == {"fhir-invalid"}
    for entry in found.troubles:
        astray = replace(entry, fault=replace(entry.fault, path="status"))
        with pytest.raises(AssertionError):
            check_trial(replace(found, troubles=[astray]))


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A product of which the kind of a document is no number."""
    product = product_of(1)
    tree = deepcopy(product.answers[next(iter(product.answers))])
    tree["docs"][0]["tipo"] = PLANTED
    wrong = instead(product, ".docs[0].tipo", tree)
    _, (found,) = World(tmp_path_factory.mktemp("refused")).run([wrong], files=False, validate="off")
    check_trial(found)
    assert [entry.fault.path for entry in found.troubles] == ["medicamento.docs[0].tipo"]
    return found


@pytest.mark.parametrize("code", ["cima-type", "cima-missing"])
@pytest.mark.parametrize(
    "path",
    [
        "", "$", "medicamento", "medicamento.docs", "medicamento.docs[0]", "medicamento.docs[1].tipo",
        "medicamento.docs[0].secc", "medicamento.docs[0].tipo.x", "medicamento.docs[9].tipo",
        "medicamento..docs[0].tipo", "medicamento.nothing", "medicamento.nombre", "notas[0].tipo", "docs[0].tipo",
        PLANTED,
    ],
)  # fmt: skip
def test_an_entry_that_points_elsewhere_is_seen(refused: Trial, path: str, code: str) -> None:
    (entry,) = refused.troubles
    astray = replace(entry, fault=Fault(code, path, entry.fault.rule))
    with pytest.raises(AssertionError):
        check_trial(replace(refused, troubles=[astray]))


def test_an_entry_that_tells_the_value_or_keeps_another_is_seen(refused: Trial) -> None:
    (entry,) = refused.troubles
    (answer, *rest) = entry.row.answers
    clean = refused.product.answers[refused.product.call]
    for wrong in (
        replace(entry, fault=replace(entry.fault, rule=f"must not be {PLANTED}")),
        replace(entry, row=replace(entry.row, answers=(replace(answer, body=written(clean)), *rest))),
        replace(entry, row=replace(entry.row, answers=tuple(rest))),
    ):
        with pytest.raises(AssertionError):
            check_trial(replace(refused, troubles=[wrong]))
