"""The collector of cycles during a run."""

from __future__ import annotations

import gc

import pytest

from jobs import collecting


def test_cycles_are_collected_seldom_and_as_before_once_the_run_is_over() -> None:
    before = gc.get_threshold()
    with collecting.seldom():
        assert gc.get_threshold()[0] == collecting.SELDOM
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_a_run_that_fails_leaves_the_collector_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), collecting.seldom():
        _ = 1 // 0
    assert gc.get_threshold() == before
