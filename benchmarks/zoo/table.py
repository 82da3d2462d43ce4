"""The table of the zoo: how to build each model, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks.zoo import boltzmann, graphs, images, layers, pretrained_shapes, recurrent
from torch import nn

IMAGE = "pixel_values=float32[batch,3,{0},{0}]"
LABEL = "labels=int64[batch]<10"
TEXT = ("input_ids=int64[batch,seq]<200", "labels=int64[batch,seq]<200")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model at one size, with its inputs as text (trainwright.jobs.inputs)."""

    build: Callable[[], nn.Module]
    inputs: tuple[str, ...]
    batch: int = 2
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of the zoo, toy and timed. ``exact`` False: its work depends on data, so a trace can only guess it."""

    name: str
    toy: Case
    timed: Case
    unit: Literal["tokens", "images", "graphs", "samples"] = "samples"
    exact: bool = True


def _text(name: str, kind: str, toy: dict[str, int], timed: dict[str, int], sizes: tuple[int, int] = (4, 128)) -> Entry:
    return Entry(
        name=name,
        unit="tokens",
        toy=Case(build=partial(pretrained_shapes.text_model, kind, **toy), inputs=TEXT, seq=16),
        timed=Case(
            build=partial(pretrained_shapes.text_model, kind, **timed), inputs=TEXT, batch=sizes[0], seq=sizes[1]
        ),
    )


def _image(name: str, kind: str, toy: dict[str, object], timed: dict[str, object], pixels: tuple[int, int]) -> Entry:
    def case(sizes: dict[str, object], size: int, batch: int) -> Case:
        build = partial(pretrained_shapes.image_model, kind, **sizes)
        return Case(build=build, inputs=(IMAGE.format(size), LABEL), batch=batch)

    return Entry(name=name, unit="images", toy=case(toy, pixels[0], 2), timed=case(timed, pixels[1], 4))


_DENSE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
          "vocab_size": 200, "max_position_embeddings": 64}  # fmt: skip
_WIDE = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 6,
         "vocab_size": 4000, "max_position_embeddings": 512}  # fmt: skip
_VIT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 32,
        "patch_size": 8}  # fmt: skip
_MIX = {"num_key_value_heads": 2, "num_local_experts": 4}
_GRAPH = ("float32[40*batch,{0}]", "int64[2,160*batch]<40", "int64[40*batch]<4")
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4, "vocab_size": 200}
_T5_WIDE = {"d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 3, "num_heads": 4, "vocab_size": 4000}


def _graph(name: str, kind: type[nn.Module]) -> Entry:
    def case(width: int, batch: int) -> Case:
        build = partial(graphs.GraphClassifier, kind, width)
        return Case(build=build, inputs=tuple(text.format(width) for text in _GRAPH), batch=batch)

    return Entry(name=name, unit="graphs", toy=case(16, 2), timed=case(128, 64))


def _plain(name: str, toy: Callable[[], nn.Module], timed: Callable[[], nn.Module], inputs: tuple[str, str]) -> Entry:
    def split(text: str) -> tuple[str, ...]:
        return tuple(text.split("; "))

    unit: Literal["images", "samples"] = "images" if "3," in inputs[0] else "samples"
    return Entry(
        name=name,
        unit=unit,
        toy=Case(build=toy, inputs=split(inputs[0])),
        timed=Case(build=timed, inputs=split(inputs[1]), batch=8 if unit == "images" else 128),
    )


def _recurrent(kind: Literal["lstm", "gru"]) -> Entry:
    build = recurrent.RecurrentLanguageModel
    return Entry(
        name=f"{kind}-lm",
        unit="tokens",
        toy=Case(build=partial(build, kind), inputs=("int64[batch,seq]<200",), seq=16),
        timed=Case(build=partial(build, kind, 2000, 256), inputs=("int64[batch,seq]<2000",), batch=16, seq=32),
    )


ZOO: tuple[Entry, ...] = (
    _plain("mlp", layers.Perceptron, partial(layers.Perceptron, 1024, 6),
           ("float32[batch,64]; int64[batch]<10", "float32[batch,1024]; int64[batch]<10")),
    _image("resnet-50", "resnet",
           {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [3, 2], "layer_type": "bottleneck"}, {},
           (32, 96)),
    _image("convnext", "convnext", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 3, 1]},
           {"hidden_sizes": [48, 96, 192, 384], "depths": [2, 2, 4, 2]}, (64, 96)),
    _plain("unet", images.UNet, partial(images.UNet, 24),
           ("float32[batch,3,16,16]; int64[batch,16,16]<3", "float32[batch,3,64,64]; int64[batch,64,64]<3")),
    _recurrent("lstm"),
    _recurrent("gru"),
    _text("gpt2", "gpt2", {"n_embd": 32, "n_layer": 4, "n_head": 4, "vocab_size": 200, "n_positions": 64},
          {"n_embd": 384, "n_layer": 4, "n_head": 6, "vocab_size": 4000, "n_positions": 512}),
    _text("llama", "llama", {**_DENSE, "num_key_value_heads": 2}, {**_WIDE, "num_key_value_heads": 2}),
    _text("mixtral", "mixtral", {**_DENSE, **_MIX}, {**_WIDE, **_MIX}, (2, 128)),
    _text("bert", "bert", _DENSE, _WIDE),
    _text("t5", "t5", _T5, _T5_WIDE),
    _image("vit", "vit", dict(_VIT), {**_VIT, "hidden_size": 384, "intermediate_size": 1536, "image_size": 96,
                                      "num_attention_heads": 6}, (32, 96)),
    Entry(
        name="clip", unit="images",
        toy=Case(build=pretrained_shapes.clip,
                 inputs=("input_ids=int64[batch,16]<200", "pixel_values=float32[batch,3,32,32]")),
        timed=Case(build=partial(pretrained_shapes.clip, 256, 4, 96), batch=8,
                   inputs=("input_ids=int64[batch,16]<200", "pixel_values=float32[batch,3,96,96]")),
    ),
    Entry(
        name="whisper", unit="tokens",
        toy=Case(build=pretrained_shapes.whisper, seq=16,
                 inputs=("input_features=float32[batch,16,64]", "labels=int64[batch,seq]<200")),
        timed=Case(build=partial(pretrained_shapes.whisper, 256, 3, 256), batch=4, seq=32,
                   inputs=("input_features=float32[batch,16,256]", "labels=int64[batch,seq]<200")),
    ),
    Entry(
        name="captioner", unit="tokens",
        toy=Case(build=pretrained_shapes.captioner, seq=16,
                 inputs=("pixel_values=float32[batch,3,32,32]", "labels=int64[batch,seq]<200")),
        timed=Case(build=partial(pretrained_shapes.captioner, 256, 4), batch=8, seq=32,
                   inputs=("pixel_values=float32[batch,3,32,32]", "labels=int64[batch,seq]<200")),
    ),
    _plain("gan", images.GanPair, partial(images.GanPair, 48, 64, 32),
           ("float32[batch,3,16,16]", "float32[batch,3,32,32]")),
    _plain("autoencoder", images.Autoencoder, partial(images.Autoencoder, 48, 16),
           ("float32[batch,3,16,16]", "float32[batch,3,64,64]")),
    _plain("vae", images.VariationalAutoencoder, partial(images.VariationalAutoencoder, 784, 512, 32),
           ("float32[batch,128]", "float32[batch,784]")),
    _plain("dbn", boltzmann.DeepBelief, partial(boltzmann.DeepBelief, (784, 512, 512, 256)),
           ("float32[batch,96]", "float32[batch,784]")),
    _graph("gcn", graphs.GraphConvolution),
    _graph("gat", graphs.GraphAttention),
    _plain("diffusion", images.DiffusionUNet, partial(images.DiffusionUNet, 48),
           ("float32[batch,3,16,16]", "float32[batch,3,32,32]")),
    _plain("early-exit", layers.EarlyExit, partial(layers.EarlyExit, 512),
           ("float32[batch,48]", "float32[batch,512]")),
    _plain("tied", layers.TiedAutoencoder, partial(layers.TiedAutoencoder, 784, 256),
           ("float32[batch,96]", "float32[batch,784]")),
    _plain("frozen", layers.FrozenBackbone, partial(layers.FrozenBackbone, 1024),
           ("float32[batch,64]; int64[batch]<7", "float32[batch,1024]; int64[batch]<7")),
    Entry(
        name="lora", unit="tokens",
        toy=Case(build=lambda: layers.with_adapters(
            pretrained_shapes.text_model("llama", **{**_DENSE, "num_key_value_heads": 2})), inputs=TEXT, seq=16),
        timed=Case(build=lambda: layers.with_adapters(
            pretrained_shapes.text_model("llama", **{**_WIDE, "num_key_value_heads": 2})), inputs=TEXT, batch=4,
            seq=128),
    ),
)  # fmt: skip
"""Every model that issue 6 names, in its order."""


def entry(name: str) -> Entry:
    """The model of that name."""
    return next(each for each in ZOO if each.name == name)
