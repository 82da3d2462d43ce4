import os
from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.runtime import folder as folders
from trainwright.runtime.folder import await_stragglers, stay_in


def test_a_run_waits_for_workers_that_a_killed_launcher_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "STRAGGLERS_S", 0.05)
    marks = [stay_in(tmp_path), stay_in(tmp_path)]
    with pytest.raises(InvalidInputError, match="processes of an earlier run are still at work in"):
        await_stragglers(tmp_path)
    for mark in marks:
        os.close(mark)
    await_stragglers(tmp_path)
