"""Capture a user's module, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainwright.errors import InvalidInputError

if TYPE_CHECKING:
    from trainwright.capture.module import Captured


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """Inputs as text, at which batch and sequence, whose kernels, and where to write the spec (None: nowhere).

    ``precision``: of the step whose memory is told; ``inference``: tell a forward without gradients too.
    """

    inputs: Sequence[str] = ()
    batch: int = 2
    seq: int | None = None
    kernels: Literal["gpu", "cpu"] = "gpu"
    output: Path | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    inference: bool = False


def capture(source: str, options: CaptureOptions) -> dict[str, Any]:
    """What ``file.py:function``, ``package.module:function`` or a Hugging Face config or folder would do in a step."""
    from trainwright.capture.summary import summary_of
    from trainwright.models.file import save_model

    found = _captured(source, options)
    if options.output is not None:
        save_model(found.spec, options.output)
    return summary_of(found, lowers=options.precision == "bf16", infers=options.inference)


def _captured(source: str, options: CaptureOptions) -> Captured:
    from trainwright.capture.huggingface import capture_config
    from trainwright.capture.module import Setup, captured
    from trainwright.capture.source import load_builder
    from trainwright.jobs.inputs import parse_input

    inputs = tuple(parse_input(text) for text in options.inputs)
    path = Path(source)
    if path.is_dir() or path.suffix == ".json":
        return capture_config(path, batch=options.batch, seq=options.seq, kernels=options.kernels, inputs=inputs)
    builder = load_builder(source)
    if not inputs:
        raise InvalidInputError(
            f"{source} takes inputs, and none are described",
            hint="--input 'float32[batch,3,224,224]' or --input 'input_ids=int64[batch,seq]', once for each",
        )
    if options.seq is None and any(each.has_seq for each in inputs):
        raise InvalidInputError("an input grows with seq, and no sequence length is given", hint="add --seq 1024")
    seq = options.seq if any(each.has_seq for each in inputs) else None
    setup = Setup(inputs=inputs, batch=options.batch, seq=seq, kernels=options.kernels)
    return captured(builder, setup, source.rpartition(":")[2], f"captured from {source}")
