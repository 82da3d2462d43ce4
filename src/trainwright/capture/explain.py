"""Torch's own errors in the user's words: which layer, which shapes, which line, and a way round."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from trainwright.capture.guess import is_foreign
from trainwright.capture.trace import Recorder, TooManyOpsError
from trainwright.errors import InvalidInputError, TrainwrightError

_SHAPE_WORDS = (
    "shape",
    "size",
    "dimension",
    "channels",
    "must match",
    "expected input",
    "dim",
    "broadcast",
    "reduction",
)
_ROUND = (
    "capture needs code that runs on meta tensors: register a fake kernel (torch.library.register_fake), or replace "
    "the call while capturing; everything else is captured as it is"
)


@contextmanager
def explained(module: nn.Module, recorder: Recorder | None = None) -> Iterator[None]:
    """Turn what a module raises while it is traced into an InvalidInputError that names the place."""
    try:
        yield
    except (TrainwrightError, TooManyOpsError):
        raise
    except Exception as error:  # the edge to user code: whatever it raises is the user's to read
        raise _explanation(error, module, recorder) from error


def _explanation(error: Exception, module: nn.Module, recorder: Recorder | None) -> InvalidInputError:
    line = line_of(error)
    at = f" at {line}" if line else ""
    first = str(error).strip().split("\n")[0] or type(error).__name__
    where = recorder.modules[-1] if recorder is not None else ""
    layer = dict(module.named_modules()).get(where, module)
    shown = f"{where or 'the module'} ({type(layer).__name__})"
    if isinstance(error, RuntimeError | ValueError | IndexError) and _is_about_shapes(first):
        wanted = "; ".join(f"{n} {tuple(p.shape)}" for n, p in layer.named_parameters(recurse=False))
        got = f", its parameters are {wanted}" if wanted else ""
        return InvalidInputError(
            f"the input does not fit layer {shown}{at}: {first}{got}",
            hint="give --input with the shape the model was made for, such as float32[batch,3,224,224]",
        )
    if isinstance(error, TypeError) and "argument" in first:
        return InvalidInputError(
            f"{shown} was called with the wrong arguments{at}: {first}",
            hint="name the inputs as the module's forward does: --input 'name=int64[batch,seq]', once for each",
        )
    return InvalidInputError(f"{shown} cannot be captured{at}: {type(error).__name__}: {first}", hint=_ROUND)


def _is_about_shapes(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in _SHAPE_WORDS)


def line_of(error: Exception) -> str:
    """The innermost line of the traceback that is the user's own, else the innermost of transformers, else nothing."""
    own = library = ""
    step = error.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if not is_foreign(path):
            own = f"{path}:{step.tb_lineno}"
        elif not is_foreign(path, own_only=False):
            library = f"{path}:{step.tb_lineno}"
        step = step.tb_next
    return own or library
