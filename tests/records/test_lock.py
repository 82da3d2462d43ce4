import os
import threading
import time
from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.records import lock
from trainwright.records.lock import LOCK_NAME, is_free, only_run_in


def test_a_second_owner_is_refused_and_children_of_a_dead_one_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = os.fork()
    if not dead:
        os._exit(0)
    os.waitpid(dead, 0)
    inside = only_run_in(tmp_path)
    inside.__enter__()
    assert not is_free(tmp_path)
    with pytest.raises(InvalidInputError, match=rf"another run is at work in .* \(process {os.getpid()}\)"):
        only_run_in(tmp_path).__enter__()
    (tmp_path / LOCK_NAME).write_text(str(dead))  # as if this process were its loader
    assert is_free(tmp_path)
    threading.Timer(0.2, lambda: inside.__exit__(None, None, None)).start()
    with only_run_in(tmp_path):
        monkeypatch.setattr(lock, "ORPHANS_S", 0.0)
        (tmp_path / LOCK_NAME).write_text(str(dead))
        time.sleep(0.01)
        with pytest.raises(InvalidInputError, match=rf"another run is at work in .* \(process {dead}\)"):
            only_run_in(tmp_path).__enter__()
    assert is_free(tmp_path)
