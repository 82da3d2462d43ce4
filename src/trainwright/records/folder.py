"""Which folder a job runs in: the unfinished one it has, or the next free one.

    runs/NAME, runs/NAME-2, runs/NAME-3, ...

A job that was stopped goes on in its folder; a job that finished, or that was changed, gets the next.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError
from trainwright.records.lock import LOCK_NAME, is_free
from trainwright.records.plan import FILE_NAME as PLAN_FILE
from trainwright.records.plan import read_plan
from trainwright.records.run import FILE_NAME as RUN_FILE
from trainwright.records.run import read_run

PAGE_FILE = "report.html"
"""The last that a run leaves: one that was stopped before it was written has something to go on with."""
DATA_FOLDER = "data"


def run_folder(output: Path, name: str, job: dict[str, Any], *, again: bool = True) -> Path:
    """The folder for this job; it holds a plan.json already when there is something to go on with.

    A job that finished gets the next folder; its finished one when it is not to run ``again``. What a command that was
    killed before it had a plan left there is swept away.

    Raises InvalidInputError when the output folder cannot be made or written.
    """
    number = 1
    while (folder := output / (name if number == 1 else f"{name}-{number}")).exists():
        if is_unfinished(folder, job) or (not again and is_of(folder, job)):
            return folder
        if _is_abandoned(folder):
            shutil.rmtree(folder)
            break
        number += 1
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InvalidInputError(
            f"cannot make the run folder {folder}: {error.strerror}", hint="choose another with --output FOLDER"
        ) from error
    return folder


def is_unfinished(folder: Path, job: dict[str, Any]) -> bool:
    """Whether the folder holds a run of exactly this job that has not finished, its page included."""
    made = all((folder / name).exists() for name in (RUN_FILE, PAGE_FILE))
    return is_of(folder, job) and (not made or read_run(folder).status != "finished")


def is_of(folder: Path, job: dict[str, Any]) -> bool:
    """Whether the folder's plan is of exactly this job."""
    return (folder / PLAN_FILE).exists() and _plain(read_plan(folder).job) == _plain(job)


def _is_abandoned(folder: Path) -> bool:
    """Whether a command made the folder and was killed before it had a plan; no files of others."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {PLAN_FILE}
    ours = {LOCK_NAME, DATA_FOLDER} | {name for name in names if name.startswith(f".{PLAN_FILE}.")}  # not yet renamed
    return not names or (LOCK_NAME in names and names <= ours and is_free(folder))


def _plain(job: dict[str, Any]) -> str:
    return json.dumps(job, sort_keys=True)
