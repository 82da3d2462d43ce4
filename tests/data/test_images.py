import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainwright.data.images import prepare_images, split
from trainwright.data.listing import list_images
from trainwright.data.picture import read_picture
from trainwright.errors import DataError, InvalidInputError
from trainwright.jobs.job import ImageData


def write(path: Path, mode: str = "RGB", size: tuple[int, int] = (20, 12), value: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wide, high = size
    array = np.full((high, wide), value, dtype=np.uint16) * 257 if mode == "I;16" else None
    image = Image.fromarray(array) if array is not None else Image.new(mode, size, value if mode == "L" else None)
    image.save(path)
    return path


def folder_of(tmp_path: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(count):
            write(tmp_path / "set" / name / f"{number}.png", value=number)
    return tmp_path / "set"


def data_of(source: Path, **changes: object) -> ImageData:
    return ImageData(**{"source": source, "size": 8, "channels": 3, **changes})  # type: ignore[arg-type]


def test_every_mode_becomes_planes_of_one_size(tmp_path: Path) -> None:
    for mode, suffix in (("L", "png"), ("I;16", "png"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "gif"), ("1", "png")):
        pixels = read_picture(write(tmp_path / f"{mode[:2]}.{suffix}", mode), 8, 3).pixels
        assert pixels.shape == (3, 8, 8)
        assert pixels.dtype == np.uint8
    assert read_picture(tmp_path / "I;.png", 8, 1).pixels[0, 0, 0] == 200
    assert (read_picture(tmp_path / "RG.png", 8, 3).pixels == 255).all()  # transparent is white


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    left_white = Image.new("L", (8, 8), 0)
    left_white.paste(255, (0, 0, 4, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    left_white.save(tmp_path / "turned.png", exif=exif)
    pixels = read_picture(tmp_path / "turned.png", 8, 1).pixels[0]
    assert pixels[0].min() == 255
    assert pixels[7].max() == 0


def test_corrupt_images_are_left_out_and_named(tmp_path: Path) -> None:
    source = folder_of(tmp_path, {"cat": 6, "dog": 6, "empty": 0})
    (source / "cat" / "0.png").write_bytes((source / "cat" / "0.png").read_bytes()[:50])
    (source / "dog" / "1.png").write_text("no image")
    images = prepare_images(tmp_path / "data", data_of(source), seed=0)
    assert images.classes == ("cat", "dog")
    assert len(images.train.labels) + len(images.held_out.labels) == 10
    noted = " ".join(images.notes)
    assert "class empty has no images and is left out" in noted
    assert "1.png is not an image" in noted
    assert "0.png cannot be read" in noted
    with pytest.raises(DataError, match=r"data.size changed since the run began: 8 then, 9 now"):
        prepare_images(tmp_path / "data", data_of(source, size=9), seed=0)
    write(source / "cat" / "more.png")
    with pytest.raises(DataError, match="the images changed since the run began"):
        prepare_images(tmp_path / "data", data_of(source), seed=0)


def test_small_pictures_and_repeated_ones_are_named(tmp_path: Path) -> None:
    source = folder_of(tmp_path, {"cat": 3, "dog": 3})
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 5 if number else 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(source / "dog" / f"own{number}.png")
    said = " ".join(prepare_images(tmp_path / "a", data_of(source), seed=0).notes)
    assert "smaller than 8 x 8 pixels, the smallest 5 and were enlarged" in said
    assert "1 pictures are there with two labels: cat/" in said
    left = prepare_images(tmp_path / "b", data_of(source, small="leave out"), seed=0)
    assert len(left.train.labels) + len(left.held_out.labels) == 7
    with pytest.raises(DataError, match=r"smaller than 8 x 8 pixels, the smallest 5; the first is dog/own"):
        prepare_images(tmp_path / "c", data_of(source, small="refuse"), seed=0)


def test_a_csv_of_file_and_label(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / f"leaf{number}.png")
    rows = [f"leaf{number}.png,{'oak' if number % 2 else 'elm'}" for number in range(6)]
    table = tmp_path / "train.csv"
    table.write_text("\n".join(["image,species", *rows, rows[0]]))
    listing = list_images(data_of(table))
    assert listing.counts == {"elm": 3, "oak": 3}
    assert listing.notes == ("1 rows of train.csv repeat an image with the same label",)


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def test_shards_of_tar_and_parquet_hold_what_folders_hold(tmp_path: Path) -> None:
    source = folder_of(tmp_path, {"cat": 2, "dog": 3})
    files = [(path.parent.name, path.read_bytes()) for path in sorted(source.rglob("*.png"))]
    shards = tmp_path / "shards"
    shards.mkdir()
    labels: list[tuple[str, Callable[[str], bytes]]] = [
        ("cls", str.encode),
        ("json", lambda c: json.dumps({"label": c}).encode()),
    ]
    for number, (suffix, encoded) in enumerate(labels):
        some = list(enumerate(files))[number::2]
        tar_of(
            shards / f"{number}.tar",
            {
                f"a/{i}.{end}": content
                for i, (name, image) in some
                for end, content in (("png", image), (suffix, encoded(name)))
            },
        )
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {"image": [{"bytes": image, "path": None} for _, image in files], "label": [name == "dog" for name, _ in files]}
    )
    table = table.set_column(1, "label", table["label"].cast(pa.int64()))
    info = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "all.parquet")
    expected = list_images(data_of(source))
    for made in (list_images(data_of(shards)), list_images(data_of(tmp_path / "all.parquet"))):
        assert made.counts == {"cat": 2, "dog": 3}
        pixels = [sorted(image.read(8, 3).pixels.tobytes() for image in each.images) for each in (made, expected)]
        assert pixels[0] == pixels[1]


def test_broken_shards_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(DataError, match="cannot read"):
        list_images(data_of(tmp_path / "cut.tar"))
    with pytest.raises(DataError, match=r"a\.png in .* has no class beside it"):
        list_images(data_of(tar_of(tmp_path / "bare.tar", {"a.png": b"x"})))
    with pytest.raises(DataError, match="no images in"):
        list_images(data_of(tar_of(tmp_path / "none.tar", {"a.cls": b"x"})))
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot read"):
        list_images(data_of(tmp_path / "cut.parquet"))
    pq.write_table(pa.table({"image": [b"x"], "kind": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="has columns image, kind"):
        list_images(data_of(tmp_path / "other.parquet"))
    pq.write_table(pa.table({"image": [b"x"], "label": pa.array([None], pa.string())}), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"row 0 of .* has no label"):
        list_images(data_of(tmp_path / "empty.parquet"))
    pq.write_table(pa.table({"image": ["x.png", "y.png"], "label": ["a", "b"]}), tmp_path / "paths.parquet")
    with pytest.raises(DataError, match=r"row 0 of .* holds no image bytes"):
        list_images(data_of(tmp_path / "paths.parquet")).images[0].read(8, 3)


def broken_csv(text: str) -> Callable[[Path], ImageData]:
    def make(folder: Path) -> ImageData:
        write(folder / "a.png")
        (folder / "t.csv").write_text(text)
        return data_of(folder / "t.csv")

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: data_of(folder / "nothing"), "no such folder of images"),
        (lambda folder: data_of(folder), "no images below"),
        (broken_csv("file,label\na.png,x\na.png,y\n"), r"t.csv:3: a.png is labelled y here and x before"),
        (broken_csv("file,label\nb.png,x\na.png,y\n"), r"1 of 2 images of .* are missing, the first is b.png"),
        (broken_csv("file,label\na.png,\n"), r"t.csv:2 has no label"),
        (broken_csv("name,kind\na.png,x\n"), r"has columns name, kind"),
        (broken_csv("file,label\n"), r"has no rows"),
        (broken_csv("file,label\na.png,x\n"), r"has 1 class \(x\)"),
    ],
)
def test_bad_sources_are_named(tmp_path: Path, make: Callable[[Path], ImageData], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list_images(make(tmp_path))


def test_held_out_images_do_not_depend_on_the_seed_and_few_shots_do() -> None:
    data = ImageData(builtin="digits", size=8, channels=1, per_class=3)
    listing = list_images(data)
    (train0, held0), (train1, held1) = split(listing, data, 0), split(listing, data, 1)
    assert held0 == held1
    assert len(train0) == len(train1) == 30
    assert train0 != train1
    assert not {i.name for i in train0} & {i.name for i in held0}


def test_folds_part_the_images_and_a_class_of_one_image_is_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path, {"cat": 5, "dog": 7})
    names = [
        [image.name for image in split(list_images(data_of(source)), data_of(source, folds=3, fold=fold), 0)[1]]
        for fold in range(3)
    ]
    assert sorted(name for fold in names for name in fold) == sorted(
        i.name for i in list_images(data_of(source)).images
    )
    lonely = folder_of(tmp_path / "again", {"cat": 5, "dog": 1})
    with pytest.raises(DataError, match="class dog has 1 image, too few for 3 folds"):
        split(list_images(data_of(lonely)), data_of(lonely, folds=3), 0)


def test_unknown_classes_and_sets_get_the_nearest_name() -> None:
    with pytest.raises(InvalidInputError, match="unknown class 'ten'"):
        list_images(ImageData(builtin="digits", classes=("1", "ten")))
    with pytest.raises(InvalidInputError, match="unknown built-in image set 'digit'"):
        list_images(ImageData(builtin="digit"))
