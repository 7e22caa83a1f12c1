"""Tiny data sets with label maps in the very layouts of PASCAL VOC, PASCAL Context, ADE20K and of a folder."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = ((60, 40), (40, 60), (50, 50))


def picture(number: int) -> Image.Image:
    width, height = SIZES[number % len(SIZES)]
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def label_map(number: int, values: tuple[int, ...], border: int | None = None) -> np.ndarray:
    """Vertical stripes of the values, and a border around all where there is one: (height, width) uint8."""
    width, height = SIZES[number % len(SIZES)]
    stripes = np.array([values[column * len(values) // width] for column in range(width)], dtype=np.uint8)
    labels = np.repeat(stripes[None], height, axis=0)
    if border is not None:
        labels[:3], labels[:, -2:] = border, border
    return labels


def palette_png(labels: np.ndarray, path: Path) -> None:
    """As VOC stores it: palette indices."""
    image = Image.fromarray(labels, mode="P")
    image.putpalette([(17 * value) % 256 for value in range(768)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _pictures(folder: Path, keys: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(keys):
        picture(number).save(folder / f"{key}.jpg", quality=95)


def write_voc(root: Path) -> Path:
    """VOCdevkit/VOC2012 with three pictures in val and one in train."""
    folder, keys = root / "VOCdevkit" / "VOC2012", ["2007_000033", "2007_000042", "2008_000061", "2009_000012"]
    _pictures(folder / "JPEGImages", keys)
    for number, key in enumerate(keys):
        values = ((0, 1, 15), (0, 8, 12, 0), (20, 0), (3, 4))[number]
        palette_png(label_map(number, values, border=255), folder / "SegmentationClass" / f"{key}.png")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(keys[:3]) + "\n")
    (lists / "train.txt").write_text(keys[3] + "\n")
    return folder


def write_context(root: Path) -> Path:
    """VOCdevkit/VOC2010 with label maps of the 59 classes as mmsegmentation's conversion writes them."""
    folder, keys = root / "VOCdevkit" / "VOC2010", ["2008_000002", "2008_000003"]
    _pictures(folder / "JPEGImages", keys)
    for number, key in enumerate(keys):
        path = folder / "SegmentationClassContext" / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label_map(number, ((0, 1, 59), (37, 29))[number])).save(path)
    lists = folder / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(keys))
    return folder


def write_ade20k(root: Path) -> Path:
    """ADEChallengeData2016 with its table of classes and of scenes."""
    folder, keys = root / "ADEChallengeData2016", ["ADE_val_00000001", "ADE_val_00000002"]
    _pictures(folder / "images" / "validation", keys)
    for number, key in enumerate(keys):
        path = folder / "annotations" / "validation" / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label_map(number, ((0, 1, 3), (150, 2))[number])).save(path)
    names = {1: "wall", 2: "building, edifice", 3: "sky", 150: "flag"}
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    lines += [f"{v}\t0.1\t10\t1\t1\t{names.get(v, f'thing {v}')}" for v in range(1, 151)]
    (folder / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    (folder / "sceneCategories.txt").write_text("ADE_val_00000001 street\nADE_val_00000002 bathroom\n")
    return folder


def write_mask_folder(root: Path) -> Path:
    """images/, masks/ and classes.csv with names in two languages."""
    folder = root / "own"
    _pictures(folder / "images", ["a", "b"])
    (folder / "masks").mkdir()
    for number, key in enumerate(("a", "b")):
        Image.fromarray(label_map(number, ((7, 9), (9, 200))[number])).save(folder / "masks" / f"{key}.png")
    rows = ["value,classname,kind,language", "7,leaf,,", "7,Blatt,,de", "9,stem,class,en", "9,stalk,class,en"]
    rows += ["9,Stiel,class,de", "200,soil,background,en"]
    (folder / "classes.csv").write_text("\n".join(rows) + "\n")
    return folder
