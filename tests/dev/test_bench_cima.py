"""The benchmark of CIMA, at a size at which it says nothing but that it works."""

from __future__ import annotations

import pytest

from dev.bench_cima import LISTS, Aim, Size, aims, arguments, beyond, measure, on_paper
from dev.bench_cima_trial import Measured, Unhurried, pace_of
from tsi_fetch.clock import SystemClock
from tsi_fetch.http.limit import SteadyPace

BASE = "http://127.0.0.1:1/cima/rest"


def test_a_first_load_and_its_nights_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = "--products 5 --changes 1 --latency 0 --text-bytes 3000 --night-rate 0".split()
    size = measure(5, arguments().parse_args(tiny), limits=True)
    first, unchanged, usual = size.first, size.runs["unchanged night"], size.runs["usual night"]
    assert (first.outcome, unchanged.outcome, usual.outcome) == ("done", "done", "done")
    assert first.products == 5
    assert (unchanged.products, unchanged.written, unchanged.requests) == (0, 0, 1)
    assert usual.requests > size.beyond > 0
    assert size.runs["  the answers alone"].requests == first.requests
    assert size.runs["  the folder alone"].written >= first.written > 50
    assert {"wait", "map", "clean", "validate", "write", "remember"} <= set(first.phases)
    assert sum(first.phases.values()) <= first.seconds
    assert all(found.rss > 10 for found in size.runs.values())
    assert len(aims(size, size)) == 4
    printed = capsys.readouterr().out
    assert "first load" in printed
    assert "clean" in printed


def test_what_no_changed_product_needed_is_counted() -> None:
    calls = [
        "registroCambios?fecha=01/03/2026&pagina=1",
        "medicamento?nregistro=51347",
        "presentacion/712729",
        "docSegmentado/contenido/1?nregistro=51347",
        "medicamento?nregistro=51347",  # twice
        "medicamento?nregistro=40%20400-95-96",
        "medicamento?nregistro=99999",  # did not change
    ]
    assert beyond([f"{BASE}/{call}" for call in calls], frozenset({"51347", "40 400-95-96"})) == 3
    assert beyond([f"{BASE}/{name}?pagina=1" for name in LISTS], frozenset()) == 2


def test_an_aim_says_whether_it_was_hit() -> None:
    assert Aim("a", 1.15, 1.15).printed().startswith("hit ")
    assert Aim("a", 1.16, 1.15).printed().startswith("MISS")


def test_the_paper_tells_hours_and_nights() -> None:
    load, night = Measured(1.0, requests=144_000), Measured(1.0, requests=360)
    text = "\n".join(on_paper(Size(1, {"first load": load, "usual night": night}), 8))
    assert "144,000 requests: 8.00 h = 1.00 at 5/s; 4.00 h = 0.50 at 10/s" in text


@pytest.mark.parametrize(
    "url", ["https://cima.aemps.es/cima/rest", "http://10.0.0.1/cima/rest", "http://localhost/cima/rest", "http:///x"]
)
def test_only_a_register_on_this_machine_may_be_asked_without_a_limit(url: str) -> None:
    with pytest.raises(ValueError, match="only a register on this machine"):
        pace_of(url, 0, SystemClock())
    assert isinstance(pace_of(url, 5, SystemClock()), SteadyPace)


def test_one_on_this_machine_may() -> None:
    assert isinstance(pace_of(BASE, 0, SystemClock()), Unhurried)
    assert isinstance(pace_of("http://[::1]:80/cima/rest", 0, SystemClock()), Unhurried)
