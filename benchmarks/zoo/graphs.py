"""Graph networks on edge lists: GCN (arXiv:1609.02907) and GAT (arXiv:1710.10903)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GraphConvolution(nn.Module):
    """Each node takes the mean of what its neighbours send."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inner, outer)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """(nodes, inner) and (2, edges) to (nodes, outer)."""
        sent = self.linear(x)[edges[0]]
        total = torch.zeros(x.shape[0], sent.shape[1], device=x.device).index_add(0, edges[1], sent)
        degree = torch.zeros(x.shape[0], device=x.device).index_add(0, edges[1], torch.ones_like(sent[:, 0]))
        return total / degree.clamp(min=1)[:, None]


class GraphAttention(nn.Module):
    """Each node weighs its neighbours by a softmax over its edges."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.linear, self.source, self.target = nn.Linear(inner, outer), nn.Linear(outer, 1), nn.Linear(outer, 1)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """(nodes, inner) and (2, edges) to (nodes, outer)."""
        h = self.linear(x)
        score = functional.leaky_relu(self.source(h)[edges[0]] + self.target(h)[edges[1]], 0.2).exp()
        total = torch.zeros(x.shape[0], 1, device=x.device).index_add(0, edges[1], score)
        weight = score / total[edges[1]].clamp(min=1e-9)
        return torch.zeros_like(h).index_add(0, edges[1], weight * h[edges[0]])


class GraphClassifier(nn.Module):
    """Layers of one kind, a class for each node."""

    def __init__(self, kind: type[nn.Module], width: int = 16, depth: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([kind(width, width) for _ in range(depth)])
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor, edges: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy over nodes."""
        for layer in self.layers:
            x = torch.relu(layer(x, edges))
        return functional.cross_entropy(self.head(x), label)
