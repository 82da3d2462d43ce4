"""The one place that reads the environment. A bad value is an error, never a silent default.

TRAINWRIGHT_CACHE   where machine profiles are kept (default: the user's cache folder)
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for Trainwright; created by whoever writes to it."""
    chosen = os.environ.get("TRAINWRIGHT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trainwright"
