"""Device and link names as people write them: a set of words, whatever the order, case or maker's prefix."""

from __future__ import annotations

import re

_MAKERS = frozenset(re.findall(r"\w+", """
    nvidia geforce tesla amd instinct radeon intel habana google huawei aws ai accelerator gpu r tm
"""))  # fmt: skip
_SPELLINGS = (
    (re.compile(r"(\d+)\s*gi?b\b"), r"\1gb"),  # 80 GB, 80GiB
    (re.compile(r"\bsxm[24-9]\b"), "sxm"),  # SXM4 of an A100 says nothing new; SXM3 of a V100 does
    (re.compile(r"\b(rtx|gtx|rx|mi|tpu)\s*[- ]?(?=[av]?\d)"), r"\1 "),  # RTX4090, MI 300X
    (re.compile(r"\bhbm\w*"), " "),
)


def words(text: str) -> frozenset[str]:
    """The words that tell one device from another.

    >>> sorted(words("NVIDIA A100-SXM4-80GB")), words("RTX4090") == words("GeForce RTX 4090")
    (['80gb', 'a100', 'sxm'], True)
    """
    folded = text.casefold()
    for pattern, spelling in _SPELLINGS:
        folded = pattern.sub(spelling, folded)
    return frozenset(re.findall(r"[a-z0-9]+", folded)) - _MAKERS
