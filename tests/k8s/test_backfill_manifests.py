"""The work-queue Job fits Kubernetes' own schemas, and agrees with the command and with the nightly jobs' manifests."""

from __future__ import annotations

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


def test_the_list_is_made_by_a_command_that_exists() -> None:
    text = (FOLDER / "kustomization.yaml").read_text()
    assert '["backfill", "start", "cima", "--all", "--later"]' in text
    group: Any = cli.get_command(click.Context(cli), "backfill")
    context = group.get_command(click.Context(group), "start").make_context("start", ["cima", "--all", "--later"])
    assert (context.params["later"], context.params["everything"]) == (True, True)


def test_its_pods_are_as_restricted_as_those_of_the_nights() -> None:
    pod, nightly = JOB["spec"]["template"]["spec"], CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container], [other] = pod["containers"], nightly["containers"]
    for name in ("securityContext", "serviceAccountName", "automountServiceAccountToken", "restartPolicy", "volumes"):
        assert pod[name] == nightly[name], name
    for name in ("image", "securityContext", "envFrom", "volumeMounts", "resources"):
        assert container[name] == other[name], name
    assert JOB["spec"]["podFailurePolicy"] == CRON_JOB["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]
    assert KUSTOMIZATION["images"] == _yaml(ROOT / "base" / "kustomization.yaml")["images"]
