"""Convolutional models of the zoo: U-Net, diffusion U-Net, autoencoder, VAE, GAN pair."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def _twice(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
        nn.Conv2d(outer, outer, 3, padding=1),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Down, up, and skips between (arXiv:1505.04597); a class for each pixel."""

    def __init__(self, width: int = 8, depth: int = 3, classes: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.stem = _twice(3, width)
        self.down = nn.ModuleList([_twice(a, b) for a, b in pairwise(widths)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths)])
        self.join = nn.ModuleList([_twice(2 * a, a) for a in widths[:-1]])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy of every pixel."""
        skips = [self.stem(x)]
        for down in self.down:
            skips.append(down(functional.max_pool2d(skips[-1], 2)))
        y = skips.pop()
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            y = join(torch.cat([up(y), skips.pop()], 1))
        return functional.cross_entropy(self.head(y), label)


class ResidualBlock(nn.Module):
    """Two convolutions with group norm, the time step added between (arXiv:2006.11239)."""

    def __init__(self, inner: int, outer: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(4, inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1))
        self.time = nn.Linear(time, outer)
        self.second = nn.Sequential(nn.GroupNorm(4, outer), nn.SiLU(), nn.Conv2d(outer, outer, 3, padding=1))
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(batch, inner, h, w) to (batch, outer, h, w)."""
        y = self.first(x) + self.time(time)[:, :, None, None]
        return self.second(y) + self.skip(x)


class SelfAttention2d(nn.Module):
    """Attention over all pixels, one head for every 16 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.n_heads = nn.GroupNorm(4, width), width // 16
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        batch, width, high, wide = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, 3, self.n_heads, -1, high * wide).transpose(-1, -2)
        q, k, v = qkv.unbind(1)
        y = functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(-1, -2).reshape(batch, width, high, wide))


class DiffusionUNet(nn.Module):
    """Predicts the noise that was added at a random time (arXiv:2006.11239)."""

    def __init__(self, width: int = 16, time: int = 32) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(1, time), nn.SiLU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = ResidualBlock(width, 2 * width, time)
        self.middle = nn.ModuleList([ResidualBlock(2 * width, 2 * width, time) for _ in range(2)])
        self.attention = SelfAttention2d(2 * width)
        self.up = ResidualBlock(3 * width, width, time)
        self.head = nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Squared error of the predicted noise."""
        moment = torch.rand(x.shape[0], 1, device=x.device)
        noise = torch.randn_like(x)
        kept = torch.cos(moment * 1.57)[:, :, None, None]
        time = self.embed(moment)
        first = self.stem(kept * x + (1 - kept * kept).sqrt() * noise)
        y = self.down(functional.avg_pool2d(first, 2), time)
        for block in self.middle:
            y = block(y, time)
        y = functional.interpolate(self.attention(y), scale_factor=2.0)
        return functional.mse_loss(self.head(self.up(torch.cat([y, first], 1), time)), noise)


class Autoencoder(nn.Module):
    """Strided convolutions down to a code, transposed ones back."""

    def __init__(self, width: int = 8, code: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * width, code, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(code, 2 * width, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(2 * width, 3, 4, 2, 1),
            nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Squared error of the reconstruction."""
        return functional.mse_loss(self.decoder(self.encoder(x)), x)


class VariationalAutoencoder(nn.Module):
    """Mean and deviation of a code, a sample, a reconstruction (arXiv:1312.6114)."""

    def __init__(self, width: int = 128, hidden: int = 64, code: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.mean, self.spread = nn.Linear(hidden, code), nn.Linear(hidden, code)
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Negative evidence lower bound."""
        hidden = self.encoder(x)
        mean, spread = self.mean(hidden), self.spread(hidden)
        code = mean + torch.exp(0.5 * spread) * torch.randn_like(spread)
        divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).sum(1).mean()
        return functional.binary_cross_entropy_with_logits(self.decoder(code), torch.sigmoid(x)) + divergence


class GanPair(nn.Module):
    """A generator and a discriminator, each with its own loss and optimizer (arXiv:1406.2661)."""

    def __init__(self, width: int = 8, code: int = 16, size: int = 16) -> None:
        super().__init__()
        self.code, start = code, size // 4
        self.generator = nn.Sequential(
            nn.Linear(code, 2 * width * start * start), nn.Unflatten(1, (2 * width, start, start)), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip
        self.discriminator = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(2 * width * start * start, 1),
        )  # fmt: skip

    def training_step(self, real: Tensor) -> Iterator[tuple[Tensor, nn.Module]]:
        """The discriminator's loss, then the generator's."""
        made = self.generator(torch.randn(real.shape[0], self.code, device=real.device))
        on_real, on_made = self.discriminator(real), self.discriminator(made.detach())
        loss = functional.softplus(-on_real).mean() + functional.softplus(on_made).mean()
        yield loss, self.discriminator
        yield functional.softplus(-self.discriminator(made)).mean(), self.generator
