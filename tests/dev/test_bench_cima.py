"""The benchmark of CIMA, at a size at which it says nothing but that it works."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import bench_cima_hapi
from dev.bench_cima import LISTS, Aim, Size, aim_of, aims, arguments, beyond, measure, on_paper
from dev.bench_cima_hapi import Cost, Limits, Load
from dev.bench_cima_ready import ready_made
from dev.bench_cima_trial import WHAT, Measured, Trial, Unhurried, pace_of, source_of
from dev.cima.generated import Generated, Settings
from dev.cima.wire import GeneratedServer
from tsi_fetch.clock import SystemClock
from tsi_fetch.http.limit import SteadyPace
from tsi_fetch.http.wire import Wire

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


def test_the_smaller_register_is_loaded_and_left_alone_at_a_rate_too() -> None:
    tiny = "--changes 1 --latency 0 --text-bytes 3000 --few-rate 50".split()
    size = measure(5, arguments().parse_args(tiny), limits=False)
    first, unchanged = (size.runs[f"{name}, 50 requests/s"] for name in ("first load", "unchanged night"))
    assert (first.outcome, first.products, first.requests) == ("done", 5, size.first.requests)
    assert first.seconds >= (first.requests - 1) / 50
    assert (unchanged.outcome, unchanged.products, unchanged.written, unchanged.requests) == ("done", 0, 0, 1)
    assert list(size.runs)[-1] == "usual night"


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


@pytest.fixture
def taker() -> Iterator[str]:
    """A FHIR server that takes everything and checks nothing."""
    command = [sys.executable, "-m", "dev.bench_echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


def test_a_load_into_a_server_stands_between_its_limits(taker: str, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = f"--hapi-url {taker} --hapi-products 5 --latency 0 --text-bytes 3000".split()
    plain, validated = bench_cima_hapi.measure(arguments().parse_args(tiny), lambda trial: WHAT[trial.what](trial))
    assert (plain.cost.measured.outcome, validated.cost.measured.outcome) == ("done", "done")
    assert "validate" in validated.cost.measured.phases
    assert plain.cost.measured.written == validated.cost.measured.written > 50
    assert plain.cost.server is None
    assert validated.cost.register > 0
    printed = capsys.readouterr().out
    assert printed.count("  the answers alone") == printed.count("  the server alone") == 3


def test_what_is_ready_made_is_all_that_a_load_writes_under_ids_of_its_own() -> None:
    with GeneratedServer(Generated(Settings(products=5, text_bytes=3000))) as server:
        trial = Trial("saturate", server.base_url, "", ids="es-b0007")
        ready = ready_made(trial, 100)
    bodies = b"".join(ready.first + ready.others)
    assert bodies.count(b'"method":"PUT"') == ready.resources > 50
    assert b"es-aemps" not in bodies
    assert all(body.count(b'"method":"PUT"') <= 100 for body in ready.others)
    assert bodies.count(b"MedicinalProductDefinition/es-b0007-mpd-") >= 5


def test_other_ids_are_as_long_as_the_true_ones() -> None:
    with pytest.raises(ValueError, match="8 characters"):
        source_of(Trial("run", BASE, "", ids="short"), SystemClock(), Wire())


def test_a_load_is_held_against_the_slower_limit() -> None:
    limits = Limits(answers=10.0, server=100.0).mean(Limits(answers=30.0, server=60.0))
    load = Load(Cost("first load, validated", Measured(92.0), 50.0, 2.0), limits)
    assert load.ratio == 1.15
    assert aim_of(load).hit
    assert next(load.printed()).strip() == "1.15 of the server alone, 4.60 of the answers alone"
    assert not aim_of(dataclasses.replace(load, limits=Limits(10.0, 79.0))).hit


def test_the_processor_time_of_a_process_is_that_of_all_below_it() -> None:
    before = bench_cima_hapi.spent([os.getpid()])
    busy = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(3_000_000))'])"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert bench_cima_hapi.spent([os.getpid()]) > before > 0


def test_cores_are_given_back() -> None:
    cores = os.sched_getaffinity(0)
    one = sorted(cores)[:1]
    with bench_cima_hapi.on_cores(one):
        assert os.sched_getaffinity(0) == set(one)
    assert os.sched_getaffinity(0) == cores
