"""Which part of a whole tensor a process holds: rectangles, so that any mesh can read what any other wrote."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A rectangle: where it begins in the local tensor, its size, and where it lies in the whole one."""

    begin: tuple[int, ...]
    size: tuple[int, ...]
    offset: tuple[int, ...]

    @property
    def local_slices(self) -> tuple[slice, ...]:
        """The rectangle in the local tensor."""
        return tuple(slice(b, b + n) for b, n in zip(self.begin, self.size, strict=True))

    @property
    def whole_slices(self) -> tuple[slice, ...]:
        """The rectangle in the whole tensor."""
        return tuple(slice(o, o + n) for o, n in zip(self.offset, self.size, strict=True))


@dataclass(frozen=True, slots=True)
class Share:
    """What a process holds of a whole tensor of ``shape``."""

    shape: tuple[int, ...]
    spans: tuple[Span, ...]

    @property
    def local_shape(self) -> tuple[int, ...]:
        """Shape of the local tensor: the corner that the rectangles reach."""
        return tuple(max((s.begin[d] + s.size[d] for s in self.spans), default=0) for d in range(len(self.shape)))


def whole(shape: tuple[int, ...]) -> Share:
    """All of it."""
    origin = (0,) * len(shape)
    return Share(shape, (Span(origin, shape, origin),))


def even_cut(shape: tuple[int, ...], dim: int, index: int, n: int, packs: int = 1) -> Share:
    """Part ``index`` of ``n`` along ``dim``; with packs, that part of each of the equal packs side by side.

    Parts differ by at most one where n does not divide.

    >>> [span.whole_slices[0] for span in even_cut((6, 4), 0, 1, 3, packs=2).spans]
    [slice(1, 2, None), slice(4, 5, None)]
    >>> [even_cut((7,), 0, i, 2).local_shape for i in (0, 1)]
    [(4,), (3,)]
    """
    pack = shape[dim] // packs
    begin, end = (index * (pack // n) + min(index, pack % n), (index + 1) * (pack // n) + min(index + 1, pack % n))
    spans = []
    for p in range(packs):
        start = [0] * len(shape)
        size = list(shape)
        offset = [0] * len(shape)
        start[dim], size[dim], offset[dim] = p * (end - begin), end - begin, p * pack + begin
        spans.append(Span(tuple(start), tuple(size), tuple(offset)))
    return Share(shape, tuple(spans))


def cut_again(share: Share, begin: int, end: int, dim: int = 0) -> Share:
    """Rows ``begin`` to ``end`` (along ``dim``) of the local tensor of a share: what sharding over dp leaves of it.

    >>> part = cut_again(even_cut((6, 4), 0, 1, 3, packs=2), 1, 2)
    >>> part.spans[0].begin, part.spans[0].offset
    ((0, 0), (4, 0))
    """
    spans = []
    for span in share.spans:
        low, high = max(span.begin[dim], begin), min(span.begin[dim] + span.size[dim], end)
        if low < high:
            spans.append(
                Span(
                    _with(span.begin, dim, low - begin),
                    _with(span.size, dim, high - low),
                    _with(span.offset, dim, span.offset[dim] + low - span.begin[dim]),
                )
            )
    return Share(share.shape, tuple(spans))


def _with(values: tuple[int, ...], dim: int, value: int) -> tuple[int, ...]:
    return (*values[:dim], value, *values[dim + 1 :])
