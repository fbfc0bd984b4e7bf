"""The work-queue Job fits Kubernetes' own schemas, and agrees with the command and with the nightly jobs' manifests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from jobs.cli.group import cli

ROOT = Path(__file__).parents[2] / "k8s-cronjobs"
FOLDER = ROOT / "backfill"
VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.37")


def _yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


JOB = _yaml(FOLDER / "workers.yaml")
CRON_JOB = _yaml(ROOT / "base" / "cima.yaml")
KUSTOMIZATION = _yaml(FOLDER / "kustomization.yaml")


@pytest.mark.parametrize("version", VERSIONS)
def test_it_fits_the_schema_strictly(version: str) -> None:
    assert kubernetes_validate.validate(JOB, version, strict=True)


def test_it_is_a_work_queue_whose_pods_end_by_themselves() -> None:
    spec = JOB["spec"]
    assert spec["parallelism"] > 1
    assert "completions" not in spec, "with it, every pod that ends well would be replaced"
    assert "activeDeadlineSeconds" not in spec, "it may take days"


def test_its_pods_run_the_worker_of_the_list_that_the_kustomization_names() -> None:
    [container] = JOB["spec"]["template"]["spec"]["containers"]
    [literal] = KUSTOMIZATION["configMapGenerator"][0]["literals"]
    name, _, number = literal.partition("=")
    assert container["env"][0]["valueFrom"]["configMapKeyRef"] == {"name": "tsi-fetch-backfill", "key": name}
    group: Any = cli.get_command(click.Context(cli), "backfill")
    words = [number if word == f"$({name})" else word for word in container["args"]]
    assert words[:2] == ["backfill", "work"]
    context = group.get_command(click.Context(group), "work").make_context("work", words[2:])
    assert context.params["number"] == int(number)


LINES = (FOLDER / "kustomization.yaml").read_text().splitlines()
HOW_TO = "\n".join(line.lstrip("# ") for line in LINES if line.startswith("#"))
NAMED = re.compile(r"kubectl (?:create job --from=cronjob/(\S+) (\S+)|apply -k (\S+))")
ARGS = re.compile(r"\.spec\.template\.spec\.containers\[0\]\.args = (\[.*?\])")


def test_each_job_is_made_where_the_one_before_of_its_name_was_deleted() -> None:
    """Its name is taken, and its template immutable, for as long as it is there; `create` says so, `apply` does not."""
    made, end = [], 0
    for found in NAMED.finditer(HOW_TO):
        cron_job, name, folder = found.groups()
        assert cron_job in (None, CRON_JOB["metadata"]["name"])
        assert folder in (None, str(FOLDER.relative_to(ROOT.parent)))
        name = name or JOB["metadata"]["name"]
        assert f"kubectl delete job {name} --ignore-not-found\n" in HOW_TO[end : found.start()]
        made, end = [*made, name], found.end()
    assert made == ["backfill-list", "tsi-fetch-backfill", "backfill-resume"]
    assert HOW_TO.count("kubectl create -f -") == 2


def test_what_the_other_jobs_run_are_commands_that_exist() -> None:
    group: Any = cli.get_command(click.Context(cli), "backfill")
    start, resume = (json.loads(args) for args in ARGS.findall(HOW_TO))
    assert (start[:2], resume[:2]) == (["backfill", "start"], ["backfill", "resume"])
    context = group.get_command(click.Context(group), "start").make_context("start", start[2:])
    assert (context.params["later"], context.params["everything"]) == (True, True)
    context = group.get_command(click.Context(group), "resume").make_context("resume", resume[2:])
    assert context.params["number"] == 1


def test_the_list_is_tried_once_and_what_resumes_it_has_all_the_time_it_takes() -> None:
    """Retried after an incomplete listing, it would find the list that this has made, and end with 2."""
    nightly = CRON_JOB["spec"]["jobTemplate"]["spec"]
    assert nightly["backoffLimit"] > 0
    listing, resuming = HOW_TO.split("backfill-list --dry-run")[1], HOW_TO.split("backfill-resume --dry-run")[1]
    assert ".spec.backoffLimit = 0" in listing.partition("kubectl create -f -")[0]
    assert "del(.spec.activeDeadlineSeconds)" in resuming, "a backfill takes longer than a night"
    assert "activeDeadlineSeconds" in nightly


def test_it_says_what_to_do_after_each_code_that_fails_a_job() -> None:
    for code in (2, 65, 75, 77):
        assert f"{code}:" in HOW_TO


def test_its_pods_are_as_restricted_as_those_of_the_nights() -> None:
    pod, nightly = JOB["spec"]["template"]["spec"], CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container], [other] = pod["containers"], nightly["containers"]
    for name in ("securityContext", "serviceAccountName", "automountServiceAccountToken", "restartPolicy", "volumes"):
        assert pod[name] == nightly[name], name
    for name in ("image", "securityContext", "envFrom", "volumeMounts", "resources"):
        assert container[name] == other[name], name
    assert JOB["spec"]["podFailurePolicy"] == CRON_JOB["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]
    assert KUSTOMIZATION["images"] == _yaml(ROOT / "base" / "kustomization.yaml")["images"]
