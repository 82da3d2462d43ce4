"""Which part of the global batch each data-parallel replica sees, and in what pieces; replicas may differ.

Unlike devices get unlike portions. The loss of a step is the sum over all targets divided by their number, whoever saw
them, so gradients are weighted by themselves.
"""

from __future__ import annotations

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy


def portion(strategy: Strategy, index: int) -> slice | None:
    """The rows of replica ``index`` where the strategy says how many each has; None where all have as many.

    >>> portion(Strategy(dp=2, samples=(6, 2)), 1)
    slice(6, 8, None)
    """
    if strategy.samples is None:
        return None
    begin = sum(strategy.samples[:index])
    return slice(begin, begin + strategy.samples[index])


def micro_size(strategy: Strategy, index: int) -> int:
    """Rows of one forward of replica ``index``.

    With ZeRO 2 and 3 every forward gathers weights from the other replicas, so all take as many of them: the largest
    portion in micro-batches of the strategy's size, the others in smaller ones.

    >>> [micro_size(Strategy(dp=2, micro_batch=3, zero_stage=3, samples=(6, 2)), i) for i in (0, 1)]
    [3, 1]
    """
    size = int(strategy.micro_batch)
    if strategy.samples is None:
        return size
    if strategy.zero_stage < 2:
        return min(size, strategy.samples[index])
    return max(strategy.samples[index] * size // max(strategy.samples), 1)


def check_batch(strategy: Strategy, global_batch: int) -> None:
    """Raise InvalidInputError unless the global batch divides into the replicas' portions and these into pieces."""
    dp, micro = int(strategy.dp), int(strategy.micro_batch)
    if strategy.samples is not None:
        _check_portions(strategy, strategy.samples, global_batch)
    elif global_batch % (dp * micro):
        raise InvalidInputError(
            f"a global batch of {global_batch} does not divide into dp {dp} x micro-batch {micro}",
            hint=f"make training.global_batch a multiple of {dp * micro}",
        )
    fewest = min(strategy.samples or (global_batch // dp,)) // micro
    if strategy.schedule != "gpipe" and 1 < strategy.pp > fewest:
        raise InvalidInputError(
            f"schedule {strategy.schedule} needs as many micro-batches as the pipeline has stages, {strategy.pp}, and "
            f"a replica has {fewest}",
            hint='choose a smaller micro_batch, a larger global batch, or schedule "gpipe"',
        )


def _check_portions(strategy: Strategy, samples: tuple[int, ...], global_batch: int) -> None:
    dp, micro = int(strategy.dp), int(strategy.micro_batch)
    told = ", ".join(map(str, samples))
    if len(samples) != dp or sum(samples) != global_batch or min(samples) < 1:
        raise InvalidInputError(
            f"samples of {told} are not the {dp} portions of a global batch of {global_batch}",
            hint=f"give {dp} numbers of at least 1 that add up to {global_batch}",
        )
    if strategy.ep > 1:
        raise InvalidInputError("replicas that share experts see as many samples each", hint="leave samples out")
    pieces = [n / micro_size(strategy, index) for index, n in enumerate(samples)]
    if any(n % 1 for n in pieces) or (strategy.zero_stage >= 2 and len(set(pieces)) > 1):
        raise InvalidInputError(
            f"samples of {told} do not divide into micro-batches of at most {micro}"
            + (", as many for each replica, which zero_stage 2 and 3 need" if strategy.zero_stage >= 2 else ""),
            hint="choose a micro_batch that divides them",
        )
