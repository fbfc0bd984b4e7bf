"""Where files lie: whether a pod keeps them, whether they can be written, and how much room there is.  Only looks."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tsi_fetch.counting import count
from tsi_fetch.errors import SettingError, TryAgain

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Where a pod's files are gone with the pod."""

MEMORY = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that a pod loses: memory, and the image's own top layer."""

EMPTY_DIR = "kubernetes.io~empty-dir"
"""In the host's path of a volume that lives and dies with its pod."""

LEAST_ROOM = 200_000_000
"""Bytes below which a disk is called full: a night of a large register fits, a first load of one does not."""

LEAST_FILES = 1_000
"""Files that must still fit, where the file system counts them."""


def refuse_temporary(file: Path, environ: Mapping[str, str]) -> None:
    """In a pod, what a run remembers must outlive it; elsewhere a person may know what they do."""
    if "KUBERNETES_SERVICE_HOST" not in environ:
        return
    places = (*TEMPORARY, tempfile.gettempdir())
    real = file.resolve()
    kind, root = mounted(real)
    if any(real.is_relative_to(place) for place in places) or kind in MEMORY or EMPTY_DIR in root:
        raise SettingError(
            f"{file} is gone when the pod ends, and with it all that runs remember",
            "use PostgreSQL, or put the file on a persistent volume",
        )


def mounted(file: Path, mounts: Path = Path("/proc/self/mountinfo")) -> tuple[str, str]:
    """The kind of file system that holds `file`, and what of it is mounted there; empty where nothing says.

    proc(5): the fourth field is the mounted root, the fifth the mount point, the kind follows a lone hyphen.
    """
    try:
        lines = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:
        return "", ""
    holders = [
        (len(line[4]), line[line.index("-") + 1], line[3])
        for line in lines
        if "-" in line and file.is_relative_to(line[4].replace("\\040", " "))
    ]
    _, kind, root = max(holders, default=(0, "", ""))
    return kind, root


def refuse_unwritable(path: Path) -> None:
    """SettingError where this user cannot write it, or make it where it is to be."""
    there = _existing(path)
    if not os.access(there, os.W_OK):
        raise SettingError(f"{there} cannot be written by this user", "mend its rights, or choose another place")


def room(path: Path) -> str:
    """How much room there is where `path` is, or will be; TryAgain where there is too little of it."""
    there = _existing(path)
    try:
        usage, files = shutil.disk_usage(there), os.statvfs(there)
    except OSError as e:
        raise SettingError(f"{there} cannot be looked at: {e.strerror}", "mend its path or rights") from e
    told = f"{_size(usage.free)} free of {_size(usage.total)}"
    if usage.free < LEAST_ROOM:
        raise TryAgain(f"only {told}", "free some space, or give it more")
    if files.f_files and files.f_favail < LEAST_FILES:
        left = f"room for {count(files.f_favail, 'more file')} only"
        raise TryAgain(left, "remove some files, or use a larger file system")
    return told


def _existing(path: Path) -> Path:
    """The path, or the nearest of its folders that is there."""
    return next(there for there in (path, *path.parents) if there.exists())


def _size(count: int) -> str:
    """Bytes in decimal units, as disks are sold."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,} bytes"


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Writing an export: the system's errors as ours; a full disk may get better, a wrong path or right will not."""
    try:
        yield
    except OSError as e:
        why = e.strerror or type(e).__name__
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TryAgain(f"{folder} cannot be written: {why}", "free some space, then export again") from e
        raise SettingError(f"{folder} cannot be written: {why}", "name another folder") from e
