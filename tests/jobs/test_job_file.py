"""The job file: every mistake at once, each with its line; placeholders; secrets that are never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.catalogue import SINKS, SOURCES, load
from jobs.config.load import STOCK, Reach, load_configuration
from jobs.config.mistakes import WrongFile
from jobs.config.models import JobSettings, StoreSettings
from tsi_fetch.errors import SettingError, Usage

GOOD = """\
stores:
  main: {url: "sqlite:///store.db"}
sinks:
  out: {kind: folder, path: out}
jobs:
  cima:
    source: {kind: cima}
    sink: out
    store: main
    schedule: "30 9 * * *"
"""


def _load(tmp_path: Path, text: str, **environ: str) -> Any:
    file = tmp_path / "jobs.yaml"
    file.write_text(text)
    return load_configuration(file, environ=environ)


def _mistakes(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(WrongFile) as caught:
        _load(tmp_path, text, **environ)
    assert caught.value.exit_code == 78
    return [str(mistake).removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]


def test_a_good_file_gives_typed_settings_and_options(tmp_path: Path) -> None:
    configuration = _load(tmp_path, GOOD.replace("{kind: cima}", "{kind: cima, rate: 2.5}"))
    job = configuration.job("cima")
    assert (job.sink, job.validation, job.removal, job.max_vanish) == ("out", "refuse", "retire", 0.05)
    kind, options = configuration.source("cima")
    assert (kind, options.rate) == ("cima", 2.5)
    assert configuration.sink("out")[1].path == Path("out")


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
stores:
  main: {url: "mysql://host/db"}
sinks:
  out: {kind: foldr, path: out}
  second: {kind: folder, pth: out}
jobs:
  cima:
    source:
      kind: cima
      rate: fast
    sink: ot
    stor: main
    schedule: "30 9 * *"
    timezone: Europe/Madird
    validate: refuze
    max_vanish: 2
    max_duration: soon
"""
    told = _mistakes(tmp_path, text)
    assert [line.split(":")[1] for line in told] == "2 4 5 5 7 10 11 12 13 14 15 16 17".split()
    whole = "\n".join(told)
    for expected in (
        "jobs.yaml:2: stores.main.url: a wrong value; a store is sqlite:///path",
        "jobs.yaml:4: sinks.out.kind: an unknown kind; expected fhir or folder; did you mean folder?",
        "jobs.yaml:5: sinks.second.pth: an unknown key; expected path or release; did you mean path?",
        "jobs.yaml:5: sinks.second.path: missing; add `path:`",
        "jobs.yaml:7: jobs.cima.store: missing; add `store:` (The name of one of `stores`)",
        "jobs.yaml:10: jobs.cima.source.rate: a wrong value; expected a number",
        "jobs.yaml:11: jobs.cima.sink: no sink has this name; expected out or second; did you mean out?",
        "jobs.yaml:12: jobs.cima.stor: an unknown key; expected",
        "did you mean store?",
        "jobs.yaml:13: jobs.cima.schedule: a wrong value; a schedule has five fields",
        "jobs.yaml:14: jobs.cima.timezone: a wrong value; a time zone is named like Europe/Madrid",
        "jobs.yaml:15: jobs.cima.validate: a wrong value; expected refuse, warn or off",
        "jobs.yaml:16: jobs.cima.max_vanish: a wrong value; expected at most 1",
        "jobs.yaml:17: jobs.cima.max_duration: a wrong value; a span of time",
    ):
        assert expected in whole


def test_what_a_source_says_of_a_value_is_said_as_a_sentence(tmp_path: Path) -> None:
    [mistake] = _mistakes(tmp_path, GOOD.replace("{kind: cima}", "{kind: cima, base_url: 'ftp://x'}"))
    assert mistake.endswith("jobs.cima.source.base_url: a wrong value; expected an http or https URL")


def test_a_key_that_stands_twice_is_a_mistake(tmp_path: Path) -> None:
    told = _mistakes(tmp_path, GOOD + "    sink: other\n")
    assert told == ["jobs.yaml:11: jobs.cima.sink: the key is there twice, first in line 8; keep one of them"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stores: [", "not YAML"),
        ("", "stores: missing"),
        ("just text", "expected a mapping"),
        ("? [a, b]\n: c\n" + GOOD, "a key that is no text"),
        (GOOD + "    description: !custom x\n", "a YAML tag of its own"),
        ("a: &a [*a]\n" + GOOD, "nested too deep"),
        (GOOD.replace("main: {", "Main_Store: {"), "text that matches"),
        (GOOD.replace("{kind: cima}", "{rate: 1}"), "kind: missing; expected cima"),
        (GOOD.replace("{kind: cima}", "cima"), "expected a mapping"),
    ],
)
def test_every_way_to_get_the_shape_wrong_is_a_mistake_and_no_traceback(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in "\n".join(_mistakes(tmp_path, text))


def test_aliases_that_multiply_end_as_a_mistake(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert any("too large" in line for line in _mistakes(tmp_path, "\n".join(lines)))


def test_placeholders_are_filled_from_the_environment_defaults_and_files(tmp_path: Path) -> None:
    (tmp_path / "contact").write_text("someone@register.invalid\n")
    options = (
        f"{{kind: cima, rate: '${{RATE:-3}}', base_url: 'http://${{HOST}}/x', contact: '${{file:{tmp_path}/contact}}'}}"
    )
    configuration = _load(tmp_path, GOOD.replace("{kind: cima}", options), HOST="cima.invalid")
    _, found = configuration.source("cima")
    assert (found.rate, found.base_url) == (3.0, "http://cima.invalid/x")
    assert found.contact == "someone@register.invalid"


def test_an_escaped_placeholder_stays_as_it_is(tmp_path: Path) -> None:
    configuration = _load(tmp_path, GOOD + '    description: "costs $${PRICE}"\n')
    assert configuration.job("cima").description == "costs ${PRICE}"


def test_missing_variables_and_files_are_named_with_their_lines(tmp_path: Path) -> None:
    text = GOOD.replace("sqlite:///store.db", "${STORE_URL}").replace("path: out", "path: '${file:/not/there}'")
    told = _mistakes(tmp_path, text, STORE_URL="")
    assert told == [
        "jobs.yaml:2: stores.main.url: the variable STORE_URL is not set; "
        "set STORE_URL, or write ${STORE_URL:-default}",
        "jobs.yaml:4: sinks.out.path: the file /not/there cannot be read: No such file or directory; "
        "mount it, or mend its path",
    ]


def test_a_placeholder_of_another_form_is_a_mistake(tmp_path: Path) -> None:
    assert "no placeholder" in _mistakes(tmp_path, GOOD.replace("path: out", "path: '${1 + 1}'"))[0]


def test_a_job_does_not_need_the_variables_of_another(tmp_path: Path) -> None:
    other = """\
  other:
    source: {kind: cima, contact: "${OTHER_CONTACT}"}
    sink: elsewhere
    store: main
    schedule: "0 3 * * *"
"""
    file = tmp_path / "jobs.yaml"
    file.write_text(GOOD.replace("jobs:", '  elsewhere: {kind: folder, path: "${ELSEWHERE}"}\njobs:') + other)
    configuration = load_configuration(file, environ={}, reach=Reach({"cima"}))
    assert configuration.source("cima")[0] == "cima"
    with pytest.raises(WrongFile) as caught:
        load_configuration(file, environ={}, reach=Reach({"other"}))
    assert [mistake.wrong for mistake in caught.value.mistakes] == [
        "the variable ELSEWHERE is not set",
        "the variable OTHER_CONTACT is not set",
    ]


def test_secrets_are_in_no_repr_and_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken-from-a-file")
    text = GOOD.replace(
        "sqlite:///store.db", "postgresql://fetcher:pa55w0rd@db.invalid/tsi?sslpassword=k3y-pass"
    ).replace(
        "{kind: folder, path: out}",
        f"{{kind: fhir, url: 'http://epi.invalid/fhir', token: '${{file:{tmp_path}/token}}'}}",
    )
    configuration = _load(tmp_path, text)
    shown = (
        repr(configuration)
        + repr(configuration.settings)
        + str(configuration.settings)
        + repr(configuration.sink("out"))
    )
    told = "\n".join(_mistakes(tmp_path, text.replace("schedule", "shedule").replace("token:", "tokn:")))
    for secret in ("pa55w0rd", "k3y-pass", "t0ken-from-a-file"):
        assert secret not in shown
        assert secret not in told
        assert secret not in configuration.secrets.redact(f"could not say {secret} to http://u:{secret}@h.invalid/")
    assert "postgresql://fetcher:***@db.invalid/tsi" in repr(configuration.store_of("cima"))
    assert configuration.store_of("cima").url.reveal().startswith("postgresql://fetcher:pa55w0rd@")


def test_an_unknown_job_is_a_usage_error_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(Usage) as caught:
        _load(tmp_path, GOOD).job("cyma")
    assert caught.value.hint == "did you mean cima?"


def test_a_file_that_is_not_there_is_a_setting_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        load_configuration(tmp_path / "none.yaml", environ={})


def test_the_page_on_configuration_names_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for model in (StoreSettings, JobSettings):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in text, name
    for room, entries in (("source", SOURCES), ("sink", SINKS)):
        for kind, entry in entries.items():
            assert f"`kind: {kind}`" in text, f"{room} {kind}"
            for name in load(entry.options).model_fields:
                assert f"`{name}`" in text, f"{room} {kind} {name}"


def test_without_a_file_the_stock_jobs_are_used_and_the_variable_names_another(tmp_path: Path) -> None:
    assert load_configuration(environ={}).file == STOCK
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert load_configuration(environ={"TSI_FETCH_CONFIG": str(tmp_path / "mine.yaml")}).file == tmp_path / "mine.yaml"


@pytest.mark.parametrize("text", ["30 9 * * *", "*/5 0-6,22 1 jan-mar mon", "0 0 31 12 7"])
def test_schedules_that_cron_reads_are_read(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, GOOD.replace("30 9 * * *", text)).job("cima").schedule == text


@pytest.mark.parametrize("text", ["60 9 * * *", "* * * *", "@daily", "5-2 * * * *", "*/0 * * * *", "x * * * *"])
def test_schedules_that_cron_refuses_are_mistakes(tmp_path: Path, text: str) -> None:
    assert "jobs.cima.schedule: a wrong value" in _mistakes(tmp_path, GOOD.replace("30 9 * * *", text))[0]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("7d", 604800)])
def test_spans_of_time_are_read(tmp_path: Path, text: str, seconds: int) -> None:
    found = _load(tmp_path, GOOD + f"    max_duration: {text}\n").job("cima").max_duration
    assert found.total_seconds() == seconds


@pytest.mark.parametrize("text", ["0s", "2", "h", "-1h", "1m1h", "''", "1.5h"])
def test_what_is_no_span_of_time_is_a_mistake(tmp_path: Path, text: str) -> None:
    assert "a span of time" in _mistakes(tmp_path, GOOD + f"    max_duration: {text}\n")[0]


def test_validation_can_be_switched_off_in_every_way_that_yaml_says_off(tmp_path: Path) -> None:
    for text in ("off", "'off'", "${CHECKED:-off}", "no"):
        assert _load(tmp_path, GOOD + f"    validate: {text}\n").job("cima").validation == "off"
    assert "expected refuse, warn or off" in _mistakes(tmp_path, GOOD + "    validate: on\n")[0]


def test_ids_are_kept_unless_a_prefix_is_asked_for(tmp_path: Path) -> None:
    job = _load(tmp_path, GOOD).job("cima")
    assert (job.identity, job.prefix, job.max_wait_age.days) == ("keep", None, 7)
    job = _load(tmp_path, GOOD + "    identity: prefix\n    prefix: es.aemps-1\n").job("cima")
    assert (job.identity, job.prefix) == ("prefix", "es.aemps-1")


@pytest.mark.parametrize("text", ["a_b", "''", "seventeen-letters", "x/y", "é"])
def test_a_prefix_that_cannot_stand_in_an_id_is_a_mistake(tmp_path: Path, text: str) -> None:
    told = _mistakes(tmp_path, GOOD + f"    identity: prefix\n    prefix: {text}\n")
    assert told == ["jobs.yaml:12: jobs.cima.prefix: a wrong value; expected text that matches ^[A-Za-z0-9.-]{1,16}$"]


def test_a_prefix_that_nothing_would_use_is_a_mistake(tmp_path: Path) -> None:
    [mistake] = _mistakes(tmp_path, GOOD + "    prefix: es\n")
    assert mistake.endswith("jobs.cima: a wrong value; `prefix` is used by `identity: prefix` alone: "
                            "write that, too, or leave `prefix` out")  # fmt: skip
