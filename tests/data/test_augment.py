import numpy as np
import pytest
import torch

from trainwright.data.augment import augment
from trainwright.data.mixing import mix_of, mixed_rows
from trainwright.jobs.augment import AUGMENTATIONS, Augment, parse_chain

ALL = parse_chain([a.name for a in AUGMENTATIONS if a.kind != "mixing"])
STEPS = [a.name for a in AUGMENTATIONS if a.kind not in ("mixing", "edges")]
IMAGES = torch.randint(0, 256, (12, 3, 16, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("chain", "side"), [(ALL, 16), (parse_chain(["flip", "crop", "zoom"]), 64)])
def test_pixels_depend_on_the_sample_and_the_epoch_and_not_on_the_batch(chain: tuple[Augment, ...], side: int) -> None:
    """Small images go through OpenCV with their channels together, large ones plane by plane."""
    images = torch.randint(0, 256, (12, 3, side, side + 4), dtype=torch.uint8)
    ids = np.arange(100, 112)
    whole = augment(images, ids, 3, chain, seed=5)
    parts = torch.cat([augment(images[a:b], ids[a:b], 3, chain, seed=5) for a, b in ((0, 1), (1, 7), (7, 12))])
    assert torch.equal(whole, parts)
    assert (augment(images, ids, 4, chain, seed=5) - whole).abs().mean() > 0.01
    assert (augment(images, ids, 3, chain, seed=6) - whole).abs().mean() > 0.01


@pytest.mark.parametrize("name", STEPS)
def test_every_step_changes_pixels_and_stays_between_black_and_white(name: str) -> None:
    changed = augment(IMAGES, np.arange(12), 0, parse_chain([name]), seed=0)
    assert changed.shape == IMAGES.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (changed - IMAGES / 255).abs().max() > 0.05
    grey = augment(IMAGES[:, :1], np.arange(12), 0, parse_chain([name]), seed=0)
    assert grey.shape == (12, 1, 16, 20)


def test_flips_are_exact_and_neutral_numbers_change_nothing() -> None:
    always = augment(IMAGES, np.arange(12), 0, parse_chain(["flip 1"]), seed=0)
    assert torch.allclose(always, (IMAGES / 255).flip(-1), atol=1e-6)
    neutral = ["crop 1 1 1", "rotate 0", "brightness 1 1", "contrast 1 1", "saturation 1 1", "hue 1 1", "blur 0"]
    assert torch.allclose(augment(IMAGES, np.arange(12), 0, parse_chain(neutral), seed=0), IMAGES / 255, atol=2e-5)


@pytest.mark.parametrize("name", STEPS)
def test_bytes_through_opencv_and_floats_through_tensors_are_the_same_change(name: str) -> None:
    """Smooth images, so that half a pixel of a window's rounding moves no value far."""
    coarse = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    images = torch.nn.functional.interpolate(coarse, (64, 80), mode="bilinear").mul(255).round().to(torch.uint8)
    chain = parse_chain([name])
    ours, theirs = (augment(each, np.arange(12), 0, chain, seed=4) for each in (images, images / 255))
    assert (ours - theirs).abs().mean() < 0.006
    assert (ours - theirs).abs().mean() < 0.2 * (theirs - images / 255).abs().mean() + 0.001


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_what_lies_beyond_an_image_is_its_mirror_or_black(kind: torch.dtype) -> None:
    white = torch.full((6, 1, 16, 16), 1.0)
    images = (255 * white).to(kind) if kind == torch.uint8 else white
    mirrored, black = (
        augment(images, np.arange(6), 0, parse_chain(c), 0) for c in (["shift 0.3"], ["shift 0.3", "black_edges"])
    )
    assert torch.allclose(mirrored, white)
    assert (black.mean(dim=(1, 2, 3)) < 0.99).float().mean() > 0.8


def test_a_rotation_by_a_right_angle_moves_pixels_where_they_belong() -> None:
    from trainwright.data.geometry import turned
    from trainwright.data.planes import sampled

    square = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.allclose(sampled(square, turned(torch.tensor([90.0]), 1.0)), square.rot90(1, (2, 3)), atol=1e-4)


@pytest.mark.parametrize("name", ["mixup", "cutmix", "mosaic"])
def test_labels_move_with_the_pixels(name: str) -> None:
    """Images of one constant value a class: the mean value after mixing is what the labels say."""
    batch = 6
    values = torch.arange(batch).float() / batch
    images = values[:, None, None, None].expand(batch, 1, 32, 32).clone()
    mix = mix_of(parse_chain([name]), seed=3, step=9, batch=batch)
    assert mix is not None
    at = np.arange(batch)
    mixed, labels = mixed_rows(images, torch.eye(batch), mix, at, at)
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), labels @ values, atol=1e-3)
    assert torch.allclose(labels.sum(dim=1), torch.ones(batch))
    assert (labels.max(dim=1).values < 0.999).any()
    some = np.array([4, 1])
    part, part_labels = mixed_rows(images, torch.eye(batch), mix, some, at)
    assert torch.equal(part, mixed[some])
    assert torch.equal(part_labels, labels[some])


def test_a_chain_without_mixing_has_none() -> None:
    assert mix_of(ALL, seed=0, step=0, batch=8) is None


def test_a_wrong_step_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean rotate"):
        parse_chain(["rotat 5"])
    with pytest.raises(ValueError, match="gives flip 2 numbers; it takes at most 1"):
        parse_chain(["flip 0.5 1"])
    with pytest.raises(ValueError, match="has rotate 270, outside 0 to 180"):
        parse_chain(["rotate 270"])
    with pytest.raises(ValueError, match="rotate takes numbers: degrees either way"):
        parse_chain(["rotate far"])
