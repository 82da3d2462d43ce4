"""Which catalogue device a published table means by the text in its device column."""

from __future__ import annotations

import functools
import re

from trainwright.hardware import catalogue
from trainwright.hardware.device import Device
from trainwright.hardware.names import words

OTHER_PARTS = frozenset(
    ("max", "pro", "ultra", "ti", "super", "d", "q", "laptop", "mobile", "ada", "nvl", "pcie", "sxm", "sxm3")
)
"""Words that make another product of a name: an RTX 3080 Laptop is no RTX 3080."""


@functools.cache
def _published() -> dict[frozenset[str], Device]:
    return {words(name): entry.device for entry in catalogue.entries() for name in entry.published}


@functools.cache
def published_device(text: str) -> Device | None:
    """The device, or None when the text names none the catalogue has.

    Tables are looser than commands: remarks in brackets are dropped, a bare "A100" is the part that most
    published clusters have (the ``published`` names of devices.toml), and words beyond a device's name are
    ignored when they leave one device.

    >>> published_device("A100-SXM4-80GB (500W)").name, published_device("V100").name
    ('A100-SXM-80GB', 'V100-SXM2-16GB')
    >>> published_device("not stated") is None
    True
    """
    plain = re.sub(r"[(\[].*", "", re.sub(r"^\s*\d+\s*x\s+", "", text))
    for candidate in (text, plain):
        exact = catalogue.find(candidate)
        if exact is not None:
            return exact.device
        if words(candidate) in _published():
            return _published()[words(candidate)]
    wanted = words(plain)
    named = [words(entry.device.name) for entry in catalogue.entries()]
    inside = [name for name in named if name <= wanted and not (wanted - name) & OTHER_PARTS]
    best = catalogue.find(" ".join(sorted(inside, key=len)[-1])) if inside else None
    return None if best is None else best.device
