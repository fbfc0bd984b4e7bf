"""One short life of ring 3, so that its harness stays true: `make fire` lives many, with restarts and restores."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from store.upgrade import upgrade
from tests.faults.hapi_life import OnHapi
from tests.faults.machine import Machine
from tests.faults.real_servers import FIRST
from tests.faults.tally import kills

if TYPE_CHECKING:
    from dev.hapi.server import Server

pytestmark = pytest.mark.servers


def test_a_life_with_a_kill_on_a_real_server_ends_as_its_register_says(hapi_server: Server, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    upgrade(store)
    life = OnHapi(random.Random(3), store, tmp_path, Machine(hapi_server), FIRST)
    verdict = life.play()
    assert verdict.good, "\n".join([*life.told, str(verdict)])
    assert kills(life.all_counts) > 0, life.told
    assert life.ends[-1].code in (0, 65), life.told
