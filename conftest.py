"""One thread for every test, none of the user's files: a cache of the session's own, where this machine is known."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two on busy cores spin, and oneDNN's own copies depend on how many
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True, scope="session")
def _known_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests that plan for this machine take a made-up profile instead of measuring it for most of a minute."""
    from tests.train.plans import two_cores

    from trainwright.hardware.machine import save_machine
    from trainwright.probe.identity import identity
    from trainwright.probe.machine import machine_path

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINWRIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        save_machine(two_cores(), machine_path(identity()))
        yield
