"""A Hugging Face folder's safetensors onto the mesh, and a checkpoint of any mesh to such a folder.

Each process reads only its own part of every tensor from the files; nobody holds the whole model. Where a folder lays
tensors out in another way than the model (older names, one tensor an expert), transformers' own conversions are asked,
one parameter at a time.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from trainwright.errors import CheckpointError, InvalidInputError
from trainwright.runtime.checkpoint import Checkpoint, Piece, load_pieces
from trainwright.runtime.shard import Sharded
from trainwright.runtime.share import Share, whole
from trainwright.runtime.tensorfile import write_tensors

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
FILE_BYTES = 5 * 10**9
"""Largest file that is written, as transformers does; a larger tensor has a file of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Tensors of a folder that make a parameter: one as it is, or several through transformers' ``converter``."""

    names: tuple[str, ...]
    patterns: tuple[str | None, ...]
    converter: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A Hugging Face folder: which file has which tensor, and what makes the parameters of a model."""

    path: Path
    files: dict[str, Path]
    sources: dict[str, Source]


def open_folder(path: Path, model: nn.Module) -> Folder:
    """Find the folder's tensors and what they are in the (whole, perhaps hollow) model.

    Raises InvalidInputError when no weights are there.
    """
    from transformers import PreTrainedModel

    files = _files(path)
    if isinstance(model, PreTrainedModel):
        return Folder(path=path, files=files, sources=_converted(files, model))
    return Folder(path=path, files=files, sources={n: Source(names=(n,), patterns=(None,)) for n in files})


@torch.no_grad()
def fill(sharded: Sharded, folder: Folder) -> int:
    """Read this process's part of every weight from the folder; returns the bytes that were read.

    Raises CheckpointError naming the first parameter that the folder lacks or has in another shape.
    """
    targets = _targets(sharded)
    missing = set(targets)
    n_bytes = 0
    for name, source in folder.sources.items():
        if source.converter is None and name in targets:
            n_bytes += _read_part(folder, source.names[0], name, targets[name])
            missing.discard(name)
        elif source.converter is not None and not _lies_elsewhere(source, name, targets):
            made = _convert(folder, source, name, sharded.model)
            n_bytes += sum(tensor.nbytes for tensor in made.values())
            for own in made.keys() & targets.keys():
                _take(made[own], own, targets[own], folder)
            missing -= made.keys()
    if missing:
        raise CheckpointError(
            f"{folder.path} is of another model: it has no {sorted(missing)[0]}",
            hint="give the folder's own config.json as the model, or another folder",
        )
    if sharded.host is not None:
        sharded.host.take_parameters()
    return n_bytes


def shapes_of(folder: Folder) -> dict[str, tuple[int, ...] | None]:
    """Shapes by parameter name, from the heads of the files; None where a conversion makes a parameter of several."""
    shapes: dict[str, tuple[int, ...] | None] = dict.fromkeys(folder.sources)
    for path in dict.fromkeys(folder.files.values()):
        with safe_open(path, framework="pt") as file:
            kept = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no mapping)
        shapes |= {own: kept[s.names[0]] for own, s in folder.sources.items() if not s.converter and s.names[0] in kept}
    return shapes


def weights_of(folder: Folder, model: nn.Module) -> dict[str, Tensor]:
    """All tensors of the folder whole, by the names of the model's parameters."""
    made: dict[str, Tensor] = {}
    try:
        for name, source in folder.sources.items():
            if source.converter is not None:
                made |= _convert(folder, source, name, model)
                continue
            with safe_open(folder.files[source.names[0]], framework="pt") as file:
                made[name] = file.get_tensor(source.names[0])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder.path} cannot be read: {error}", hint="copy it again") from error
    return made


def write_folder(folder: Path, checkpoint: Checkpoint, model: nn.Module, file_bytes: int = FILE_BYTES) -> list[str]:
    """Write the checkpoint's weights as safetensors under the names transformers saves; returns the files' names.

    ``model`` is whole and may be hollow. No more than one file's tensors are in memory at once.
    """
    whole_tensors = {n: t for n, t in model.state_dict(keep_vars=True).items() if f"weights/{n}" in checkpoint.tensors}
    plan: list[list[str]] = [[]]
    room = float(file_bytes)
    for name, tensor in whole_tensors.items():
        if plan[-1] and tensor.nbytes > room:
            plan.append([])
            room = float(file_bytes)
        plan[-1].append(name)
        room -= tensor.nbytes
    placed: dict[str, str] = {}
    for number, names in enumerate(plan, start=1):
        file = SINGLE if len(plan) == 1 else f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        tensors: dict[str, Tensor] = {}
        for name in names:
            tensors |= _as_saved(model, name, _assembled(checkpoint, name, whole_tensors[name]))
        write_tensors(folder / file, tensors, {"format": "pt"})
        placed |= dict.fromkeys(tensors, file)
    if len(plan) > 1:
        total = sum(tensor.nbytes for tensor in whole_tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
    return list(dict.fromkeys(placed.values()))


def _files(folder: Path) -> dict[str, Path]:
    """File by tensor name."""
    try:
        if (folder / INDEX).exists():
            mapped = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
            return {name: folder / file for name, file in mapped.items()}
        with safe_open(folder / SINGLE, framework="pt") as file:
            return dict.fromkeys(file.keys(), folder / SINGLE)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InvalidInputError(
            f"cannot read the weights in {folder}: {error}",
            hint=f"give a folder with {SINGLE} or {INDEX}; other formats can be saved again by transformers",
        ) from error


def _converted(files: Mapping[str, Path], model: Any) -> dict[str, Source]:
    """Source by parameter name, through transformers' renamings and conversions; a tied weight by its first name."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
    own = model.state_dict(keep_vars=True)
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    sources: dict[str, Source] = {}
    for key in sorted(files, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, own)
        name = first.get(id(own.get(name)), name)
        before = sources.get(name) if pattern is not None else None
        sources[name] = Source(
            names=(*(before.names if before else ()), key),
            patterns=(*(before.patterns if before else ()), pattern),
            converter=None if pattern is None else by_pattern[pattern],
        )
    return sources


def _targets(sharded: Sharded) -> dict[str, tuple[Tensor, Share]]:
    """What this process has to fill: local tensors with their shares. ZeRO 1 holds weights whole on every process."""
    shares = sharded.division.shares if sharded.rows else sharded.shares
    named = sharded.named if sharded.rows else sharded.divided
    tensors: dict[str, Tensor] = {name: parameter.data for name, parameter in named.items()}
    kept = sharded.model.state_dict()
    tensors |= {name: buffer for name, buffer in sharded.model.named_buffers() if name in kept}
    return {name: (t, shares.get(name, whole(tuple(t.shape)))) for name, t in tensors.items()}


def _read_part(folder: Folder, stored: str, name: str, target: tuple[Tensor, Share]) -> int:
    local, share = target
    n_bytes = 0
    try:
        with safe_open(folder.files[stored], framework="pt") as file:
            view = file.get_slice(stored)
            _check_shape(tuple(view.get_shape()), name, share, folder)
            for span in share.spans:
                part = view[span.whole_slices] if span.size else file.get_tensor(stored)
                local[span.local_slices] = part.to(local.dtype)
                n_bytes += part.nbytes
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder.files[stored]} cannot be read: {error}", hint="copy it again") from error
    return n_bytes


def _lies_elsewhere(source: Source, name: str, targets: Mapping[str, object]) -> bool:
    return len(source.converter.target_patterns) == 1 and name not in targets


def _convert(folder: Folder, source: Source, name: str, model: Any) -> dict[str, Tensor]:
    """Whole parameters by name, made of all the tensors that transformers' converter joins (or divides)."""
    converter = copy.deepcopy(source.converter)
    for stored, pattern in zip(source.names, source.patterns, strict=True):
        with safe_open(folder.files[stored], framework="pt") as file:
            converter.add_tensor(name, stored, pattern, file.get_tensor(stored))
    made: dict[str, Any] = converter.convert(name, model=model, config=model.config)
    return {own: tensor[0] if isinstance(tensor, list) else tensor for own, tensor in made.items()}


def _take(tensor: Tensor, name: str, target: tuple[Tensor, Share], folder: Folder) -> None:
    local, share = target
    _check_shape(tuple(tensor.shape), name, share, folder)
    for span in share.spans:
        local[span.local_slices] = tensor[span.whole_slices].to(local.dtype)


def _check_shape(theirs: tuple[int, ...], name: str, share: Share, folder: Folder) -> None:
    if theirs != share.shape:
        raise CheckpointError(
            f"{folder.path} is of another model: {name} is {list(share.shape)} here and {list(theirs)} there",
            hint="give the folder's own config.json as the model, or another folder",
        )


def _assembled(checkpoint: Checkpoint, name: str, like: Tensor) -> Tensor:
    tensor = torch.empty(like.shape, dtype=like.dtype)
    load_pieces(checkpoint, {f"weights/{name}": Piece(tensor, whole(tuple(like.shape)))})
    return tensor


def _as_saved(model: nn.Module, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The tensor under the names, and in the parts, that transformers' ``save_pretrained`` would give it."""
    from transformers import PreTrainedModel
    from transformers.core_model_loading import revert_weight_conversion

    if not isinstance(model, PreTrainedModel):
        return {name: tensor}

    saved: dict[str, Tensor] = revert_weight_conversion(model, {name: tensor})
    return saved
