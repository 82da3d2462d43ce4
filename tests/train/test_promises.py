"""No network call, and nothing written outside the run folder and the cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.train.plans import tiny_plan

from trainwright.jobs.strategy import Strategy

GUARD = """
import pathlib, socket
LOG = pathlib.Path({log!r})
def guard(name):
    original = getattr(socket.socket, name)
    def guarded(self, address, *rest):
        host = address[0] if isinstance(address, tuple) else "unix"
        if host not in ("127.0.0.1", "::1", "localhost", "unix", ""):
            LOG.write_text(f"{{name}} {{address}}")
            raise OSError(f"network call: {{name}} {{address}}")
        return original(self, address, *rest)
    setattr(socket.socket, name, guarded)
for name in ("connect", "connect_ex", "sendto"):
    guard(name)
def refuse(*arguments, **keywords):
    LOG.write_text(f"getaddrinfo {{arguments}}")
    raise OSError("network call")
socket.getaddrinfo = refuse
"""


@pytest.mark.distributed
@pytest.mark.slow
def test_a_run_stays_at_home(tmp_path: Path) -> None:
    folder = tiny_plan(tmp_path / "run", strategy=Strategy(dp=2, micro_batch=4, precision="fp32"))
    places = {name: tmp_path / name for name in ("home", "temporary", "work", "guard")}
    for place in places.values():
        place.mkdir()
    log = tmp_path / "calls.txt"
    (places["guard"] / "sitecustomize.py").write_text(GUARD.format(log=str(log)))
    for name in ("home", "work"):
        places[name].chmod(0o555)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "PYTHONPATH": os.pathsep.join([str(places["guard"]), *(p for p in sys.path if p)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    code = f"from pathlib import Path; from trainwright.train.run import run_plan; run_plan(Path({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=places["work"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode() + (log.read_text() if log.exists() else "")
    assert not log.exists()
    assert [path for name in ("home", "temporary", "work") for path in places[name].rglob("*")] == []
    assert done.stdout == b""
