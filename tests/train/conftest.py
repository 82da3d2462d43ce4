import pytest
from tests.runtime.forked import forked_workers, warm

__all__ = ["forked_workers", "warm"]


@pytest.fixture(autouse=True)
def _forks(request: pytest.FixtureRequest) -> None:
    """Workers that tests of this folder start are forked; see tests/runtime/forked.py."""
    if request.node.get_closest_marker("distributed"):
        request.getfixturevalue("forked_workers")
