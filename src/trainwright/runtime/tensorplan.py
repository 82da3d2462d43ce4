"""Which weights tensor parallelism divides, and how: the model's own plan, or a row of this table.

Hugging Face models bring ``tp_plan``s in the words below; GPT-2, BERT and ViT bring none.

    colwise                        outputs divided (q, k, v, gate, up)
    packed_colwise, packed_3       the same where 2 (gate|up) or 3 (q|k|v) matrices lie side by side in one weight
    rowwise                        inputs divided, outputs summed (o, down)
    embedding_rowwise              rows of the vocabulary divided, looked-up vectors summed
    colwise_gather_output          the head: vocabulary divided; the loss works on divided logits
    moe_tp_experts                 the module around experts whose matrices are divided: inputs entered, outputs summed
    replicated_with_grad_allreduce held whole but used on divided heads: its gradients are summed
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trainwright.errors import InvalidInputError

GPT2 = {
    "transformer.wte": "embedding_rowwise",
    "transformer.h.*.attn.c_attn": "packed_3",
    "transformer.h.*.attn.c_proj": "rowwise",
    "transformer.h.*.mlp.c_fc": "colwise",
    "transformer.h.*.mlp.c_proj": "rowwise",
    "lm_head": "colwise_gather_output",
}
BERT = {
    "bert.encoder.layer.*.attention.self.query": "colwise",
    "bert.encoder.layer.*.attention.self.key": "colwise",
    "bert.encoder.layer.*.attention.self.value": "colwise",
    "bert.encoder.layer.*.attention.output.dense": "rowwise",
    "bert.encoder.layer.*.intermediate.dense": "colwise",
    "bert.encoder.layer.*.output.dense": "rowwise",
}
VIT = {
    "vit.layers.*.attention.q_proj": "colwise",
    "vit.layers.*.attention.k_proj": "colwise",
    "vit.layers.*.attention.v_proj": "colwise",
    "vit.layers.*.attention.o_proj": "rowwise",
    "vit.layers.*.mlp.fc1": "colwise",
    "vit.layers.*.mlp.fc2": "rowwise",
}
STYLES = (
    "colwise", "packed_colwise", "packed_3", "rowwise", "embedding_rowwise", "colwise_gather_output",
    "moe_tp_experts", "replicated_with_grad_allreduce",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlan:
    """Styles by pattern of module (or parameter) name, and attributes that count heads or widths to divide."""

    styles: dict[str, str]
    divided_attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def style(self, name: str) -> str | None:
        """The style of the module or parameter of that name; ``*`` in a pattern stands for one part."""
        for pattern, style in self.styles.items():
            if re.fullmatch(re.escape(pattern).replace(r"\*", "[^.]+"), name):
                return style
        return None


TABLE = {
    "gpt2": TensorPlan(
        styles=GPT2,
        divided_attributes={
            "transformer.h.*.attn": ("num_heads", "split_size"),
            "transformer.h.*.attn.c_attn": ("nf",),
            "transformer.h.*.mlp.c_fc": ("nf",),
        },
    ),
    "bert": TensorPlan(styles=BERT),
    "vit": TensorPlan(styles=VIT),
}


def tensor_plan(model: nn.Module) -> TensorPlan:
    """The plan for this model: from the table, or its own.

    A module of the user's may carry ``tensor_plan``, a dictionary of patterns and styles.
    """
    config: Any = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if kind in TABLE:
        return TABLE[kind]
    own: Any = getattr(model, "tensor_plan", None) or getattr(model, "_tp_plan", None)
    if not own:
        raise InvalidInputError(
            f"there is no tensor plan for {kind or type(model).__name__}",
            hint="use tp 1, or give the module an attribute tensor_plan = {'pattern.*.name': 'colwise', ...}",
        )
    unknown = sorted({style for style in own.values() if style not in STYLES})
    if unknown:
        raise InvalidInputError(
            f"the tensor plan of {kind or type(model).__name__} uses {', '.join(unknown)}, which is not known here",
            hint=f"use tp 1; known styles: {', '.join(STYLES)}",
        )
    return TensorPlan(styles=dict(own))
