"""A job's name as an argument: a shell completes it from the job file, without reading more of that than its keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from jobs.config.whereabouts import STOCK, VARIABLE


class JobName(click.ParamType[str]):
    """The name of a job in the job file; whether there is one of that name, the command says."""

    name = "job"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        named = ctx.params.get("config")
        file = Path(named or os.environ.get(VARIABLE) or STOCK)
        return [CompletionItem(name) for name in job_names(file) if name.startswith(incomplete)]


JOB = JobName()


def one_job(named: str | None, by_option: str | None) -> str | None:
    """The job that was named as an argument or by `--job`.  click's UsageError where those are two."""
    if None not in (named, by_option) and named != by_option:
        raise click.UsageError(f"JOB is {named}, and --job is {by_option}: name one", click.get_current_context())
    return named or by_option


of_one_job = click.option("--job", "by_option", type=JOB, metavar="JOB", help="Only of this job: JOB, the longer way.")


def job_names(file: Path) -> list[str]:
    """The keys under `jobs`, in the file's order; none where it cannot be read: a shell is no place to say why."""
    import yaml

    try:
        root = yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    return [name for key, jobs in _members(root) if key == "jobs" for name, _ in _members(jobs)]


def _members(node: Any) -> list[tuple[str, Any]]:
    """Keys and values of a mapping node; none of any other."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return []
    return [(str(key.value), value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
