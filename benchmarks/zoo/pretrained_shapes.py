"""Models of Hugging Face transformers by small configs; nothing is downloaded."""

from __future__ import annotations

from typing import Any

from torch import nn


def text_model(kind: str, **sizes: Any) -> nn.Module:
    """A language model: llama, mixtral, gpt2, bert or t5."""
    import transformers as hf

    made: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, {}),
        "mixtral": (hf.MixtralConfig, hf.MixtralForCausalLM, {}),
        "gpt2": (hf.GPT2Config, hf.GPT2LMHeadModel, {"bos_token_id": 0, "eos_token_id": 0}),
        "bert": (hf.BertConfig, hf.BertForMaskedLM, {}),
        "t5": (hf.T5Config, hf.T5ForConditionalGeneration, {"decoder_start_token_id": 0}),
    }
    config, model, fixed = made[kind]
    return _bare(model, config(**{**fixed, **sizes}))


def image_model(kind: str, **sizes: Any) -> nn.Module:
    """An image classifier: resnet, convnext or vit."""
    import transformers as hf

    made: dict[str, tuple[Any, Any]] = {
        "resnet": (hf.ResNetConfig, hf.ResNetForImageClassification),
        "convnext": (hf.ConvNextConfig, hf.ConvNextForImageClassification),
        "vit": (hf.ViTConfig, hf.ViTForImageClassification),
    }
    config, model = made[kind]
    return _bare(model, config(num_labels=10, problem_type="single_label_classification", **sizes))


def clip(width: int = 32, layers: int = 2, image: int = 32) -> nn.Module:
    """Images and texts in one space, contrastive loss over the batch."""
    import transformers as hf

    shared = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers,
              "num_attention_heads": 4, "projection_dim": width}  # fmt: skip
    text = {**shared, "vocab_size": 200, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**shared, "image_size": image, "patch_size": 8}
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)
    return WithArguments(_bare(hf.CLIPModel, config), return_loss=True)


def whisper(width: int = 32, layers: int = 2, frames: int = 64) -> nn.Module:
    """Speech frames to text."""
    import transformers as hf

    return _bare(
        hf.WhisperForConditionalGeneration,
        hf.WhisperConfig(
            d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=2 * width, decoder_ffn_dim=2 * width, vocab_size=200,
            max_source_positions=frames // 2, max_target_positions=64, num_mel_bins=16, decoder_start_token_id=0,
            pad_token_id=0, bos_token_id=0, eos_token_id=0,
        ),
    )  # fmt: skip


def captioner(width: int = 32, layers: int = 2) -> nn.Module:
    """A vision transformer whose features a GPT-2 decoder describes."""
    import transformers as hf

    encoder = hf.ViTConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=2 * width, image_size=32,
        patch_size=8,
    )  # fmt: skip
    decoder = hf.GPT2Config(
        n_embd=width, n_layer=layers, n_head=4, vocab_size=200, n_positions=64, add_cross_attention=True,
        is_decoder=True, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = config.pad_token_id = 0
    return _bare(hf.VisionEncoderDecoderModel, config)


class WithArguments(nn.Module):
    """A model with some arguments given once and for all."""

    def __init__(self, inner: nn.Module, **fixed: Any) -> None:
        super().__init__()
        self.inner, self.fixed = inner, fixed

    def forward(self, **inputs: Any) -> Any:
        """The inner model's output."""
        return self.inner(**inputs, **self.fixed)


def _bare(model: Any, config: Any) -> nn.Module:
    config.use_cache = False
    made: nn.Module = model._from_config(config) if hasattr(model, "_from_config") else model(config)
    return made
