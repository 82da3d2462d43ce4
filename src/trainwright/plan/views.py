"""What test-time augmentation would take: one more view of an image while it is judged."""

from __future__ import annotations

from trainwright.plan.choice import Choice
from trainwright.plan.subject import Subject
from trainwright.units import format_seconds

FORWARD_SHARE = 1.0 / 3.0
"""Of head and loss a third is forward: backward has two for every forward one."""


def view_note(subject: Subject, choice: Choice) -> str | None:
    """Seconds of a further view of an image, made and classified; None for a job whose samples nothing augments."""
    if not subject.job.augment or subject.known is None or subject.known.sample_s is None:
        return None
    made_s, time = subject.known.sample_s, choice.estimate.time
    forward_s = float(time["forward"]) + FORWARD_SHARE * float(time["head_loss"])
    classified_s = forward_s * float(choice.strategy.dp) / subject.job.global_batch
    return (
        f"judging an image by one view more (compete --views) takes about {format_seconds(made_s + classified_s)}: "
        f"{format_seconds(made_s)} to make it and {format_seconds(classified_s)} to classify it"
    )
