from tests.runtime.forked import forked_workers, warm

__all__ = ["forked_workers", "warm"]
