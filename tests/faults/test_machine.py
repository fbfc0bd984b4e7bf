"""Ring 1 as a state machine: hypothesis chooses what happens, and shrinks what goes wrong to the few acts that matter.

`TSI_MACHINE` examples (12 without it).  After each run the checker looks; at the end somebody mends what is broken, and
after a calm night everything must be well.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.faults.checker import Verdict
from tests.faults.inside import NOWHERE, OFTEN, SEAMS, TAMPERING, Inside, room, template
from tests.faults.register_story import ACTS, names
from tests.sinks.sudden_death import Death, Doom

EXAMPLES = int(os.environ.get("TSI_MACHINE", "12"))

DEATHS = st.one_of(
    st.just(NOWHERE),
    st.builds(Death, st.sampled_from(SEAMS), st.integers(1, 3), st.booleans()),
    st.builds(Death, st.sampled_from(OFTEN), st.integers(1, 20), st.booleans()),
)


class Driven(Inside):
    """A life whose runs end as they are told."""

    fate: tuple[Death, int] = (NOWHERE, 0)

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        (death, days), self.fate = self.fate, (NOWHERE, 0)
        return self.dared(Doom(death), timedelta(days=days), calm=calm, full=full)


class JobUnderFire(RuleBasedStateMachine):
    """A register, a job and a FHIR server, and what may happen to them, in any order."""

    empty: Path
    counted: Counter[str]
    """Over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._happened: list[str] = []
        self._good = True

    @initialize(dice=st.randoms(use_true_random=False))
    def begins(self, dice: random.Random) -> None:
        folder = Path(self._stack.enter_context(room()))
        shutil.copy(self.empty, folder / "store.db")
        self.life = Driven(dice, f"sqlite:///{folder}/store.db", folder, near=True)
        self._stack.callback(self.life.close)

    @rule(name=st.sampled_from(list(ACTS)))
    def happens_at_the_register(self, name: str) -> None:
        if self.life.story.act(name):
            self._happened.append(name)

    @rule(death=DEATHS, days=st.sampled_from([0, 1, -1]), faults=st.booleans(), full=st.booleans())
    def runs(self, death: Death, days: int, faults: bool, full: bool) -> None:
        self.life.fate = (death, days)
        happened, self._happened = self._happened, []
        self._judged(self.life.night(names(happened), full=full, calm=not faults))
        self.life.story.find_the_hidden()

    @precondition(lambda self: self.life.ends)
    @rule(what=st.sampled_from(TAMPERING))
    def somebody_else_is_at_the_server(self, what: str) -> None:
        if self.life.tamper(what):
            self._happened.append(what)

    @rule()
    def the_server_is_backed_up(self) -> None:
        self.life.meddler.back_up()

    @precondition(lambda self: self.life.vanishing.asked)
    @rule()
    def a_person_lets_go_what_vanished(self) -> None:
        self.life.accept()

    @precondition(lambda self: self.life.tampered)
    @rule()
    def a_person_reconciles(self) -> None:
        self.life.mend()

    def teardown(self) -> None:
        with self._stack:
            if hasattr(self, "life"):
                self._ends()

    def _ends(self) -> None:
        try:
            if self._good:
                self._judged(self.life.end())
        finally:
            self.counted.update(self.life.all_counts + Counter(examples=1))

    def _judged(self, verdict: Verdict) -> None:
        self._good = verdict.good
        assert verdict.good, "\n".join([*self.life.told, str(verdict)])


def test_nothing_is_lost_doubled_or_falsely_green_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> None:
    JobUnderFire.empty, JobUnderFire.counted = template(tmp_path_factory.mktemp("fire")), Counter()
    run_state_machine_as_test(
        JobUnderFire,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=15,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property("examples", JobUnderFire.counted.pop("examples"))
    for name, number in JobUnderFire.counted.items():
        record_property(name, number)
