# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer dataset preview``: samples with pictures, depth, questions and points on one page.

The page is one file that loads nothing and runs nothing; texts of the data are escaped.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from roborefer_ros.arguments import non_negative_int, positive_int
from roborefer_ros.errors import ConfigurationError, DependencyMissingError
from roborefer_ros.files import read_text, replaced_file, write_text
from roborefer_ros.training.data.arguments import add_data_arguments, parts_of, read_options
from roborefer_ros.training.data.dataset import LoadedSample, MixtureDataset
from roborefer_ros.training.data.defects import FORMAT_REQUEST
from roborefer_ros.training.data.pictures import Picture

_SIDE = 480
_MOST_POINTS = 50
_POINT = re.compile(r"[(]\s*(-?\d*\.?\d+)\s*,\s*(-?\d*\.?\d+)\s*[)]")

#: told apart by people who do not see red and green alike, too
COLOURS = ("#e69f00", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442")


@dataclass(frozen=True)
class Mark:
    """A point of an answer, ``x`` and ``y`` as shares of width and height."""

    number: int
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class Shown:
    """One sample of the page."""

    title: str
    pictures: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    marks: list[Mark]
    notes: list[str]


def points_of(answer: str) -> list[tuple[float, float]]:
    """Normalised points of an answer; those outside of 0..1 are left out."""
    final = answer.rpartition("<answer>")[2]
    found = [(float(x), float(y)) for x, y in _POINT.findall(final)[:_MOST_POINTS]]
    return [(x, y) for x, y in found if 0 <= x <= 1 and 0 <= y <= 1]


def shown(loaded: LoadedSample) -> Shown:
    """What the page shows of a sample."""
    sample = loaded.sample
    pairs, marks = [], []
    for number, pair in enumerate(sample.row.pairs):
        colour = COLOURS[number % len(COLOURS)]
        own = [Mark(number + 1, x, y, colour) for x, y in points_of(pair.answer)]
        marks += own
        pairs.append(
            {
                "number": number + 1, "question": pair.question, "answer": pair.answer,
                "thinking": pair.thinking, "kind": pair.question_type,
                "colour": colour if own else "",
            }
        )  # fmt: skip
    pictures = [_entry(p, name) for p, name in zip(loaded.images, sample.row.images, strict=True)]
    pictures += [_entry(p, name) for p, name in zip(loaded.depths, sample.row.depths, strict=True)]
    notes = [f"{key}: {count}" for key, count in sorted(loaded.notes.items())]
    notes += [f"skipped: {text}" for text in loaded.skipped]
    title = f"{sample.dataset}, row {sample.row_number}, id {sample.row.id}"
    # The questions speak of the last view where there are several.
    return Shown(title, pictures, pairs, marks, notes)


def _entry(pixels: Picture, name: str) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    return {"name": name, "data": _jpeg(pixels), "width": width, "height": height}


def _small(pixels: Picture) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    return image


def _jpeg(pixels: Picture) -> str:
    buffer = io.BytesIO()
    _small(pixels).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def write_page(samples: list[Shown], path: Path, title: str) -> None:
    """Write the page.

    Raises:
        DependencyMissingError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise DependencyMissingError(
            "the page needs jinja2: pip install 'roborefer_ros[eval]'; --out with .png does not"
        ) from error
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        read_text(Path(__file__).with_name("preview.html"))
    )
    write_text(path, template.render(samples=samples, title=title))


def write_picture(samples: list[Shown], loaded: list[LoadedSample], path: Path) -> None:
    """Write the pictures, one row a sample, with the points of the answers drawn in."""
    rows = []
    for own, sample in zip(samples, loaded, strict=True):
        cells = []
        for pixels in (*sample.images, *sample.depths):
            image = _small(pixels)
            draw = ImageDraw.Draw(image)
            for mark in own.marks:
                x, y = mark.x * image.width, mark.y * image.height
                draw.ellipse((x - 5, y - 5, x + 5, y + 5), outline="white", width=3)
                draw.ellipse((x - 4, y - 4, x + 4, y + 4), outline=mark.colour, width=2)
                draw.text((x + 7, y - 6), str(mark.number), fill="white")
            cells.append(image)
        rows.append(_joined(cells, own))
    width, height = max(r.width for r in rows), sum(r.height for r in rows)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with replaced_file(path) as partial:
        sheet.save(partial, "PNG")


def _joined(cells: list[Image.Image], own: Shown) -> Image.Image:
    texts = [own.title]
    for pair in own.pairs:
        asked = pair["question"].partition(FORMAT_REQUEST)[0]
        texts.append(f"{pair['number']}. {asked[:100]} -> {pair['answer']}")
    short = [" ".join(text.split())[:150] for text in texts]
    # what Pillow's own font has
    lines = [text.encode("latin-1", "replace").decode("latin-1") for text in short]
    height = max((cell.height for cell in cells), default=0)
    width = max([sum(cell.width + 8 for cell in cells), 900])
    row = Image.new("RGB", (width, height + 14 * len(lines) + 20), "white")
    left = 0
    for cell in cells:
        row.paste(cell, (left, 0))
        left += cell.width + 8
    draw = ImageDraw.Draw(row)
    for number, line in enumerate(lines):
        draw.text((4, height + 4 + 14 * number), line, fill="black")
    return row


# --- the command -----------------------------------------------------------------------


def add_arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of ``preview``."""
    add_data_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("preview.html"), help=".html or .png")
    parser.add_argument(
        "--samples", type=positive_int, default=8, metavar="N", help="of each data set"
    )
    parser.add_argument(
        "--seed", type=non_negative_int, default=0, help="of which samples are shown"
    )
    group = parser.add_argument_group("as the network is given it")
    group.add_argument("--decode", type=Path, metavar="CHECKPOINT", help="print text and shapes")
    group.add_argument(
        "--batch", type=positive_int, default=2, metavar="N", help="samples that are"
    )


def run(_verb: str, options: argparse.Namespace) -> int:
    """Run ``preview``."""
    if options.out.suffix.lower() not in (".html", ".htm", ".png"):
        raise ConfigurationError(f"--out is {options.out}; it must end in .html or .png")
    data = MixtureDataset(parts_of(options, "refspatial_rgbd"), read_options(options))
    if options.decode is not None:
        return _decode(data, options)
    loaded = []
    generator = np.random.default_rng(options.seed)
    for part in data.parts:
        count = min(options.samples, part.unique)
        numbers = sorted(generator.choice(part.unique, count, replace=False).tolist())
        loaded += [part.load(number) for number in numbers]
    samples = [shown(sample) for sample in loaded]
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        if options.out.suffix.lower() == ".png":
            write_picture(samples, loaded, options.out)
        else:
            write_page(samples, options.out, "Training data")
    except OSError as error:
        raise ConfigurationError(f"{options.out} cannot be written: {error.strerror}") from error
    print(f"{len(samples)} samples of {len(data.parts)} data sets: {options.out}")
    return 0


def _decode(data: MixtureDataset, options: argparse.Namespace) -> int:
    """Print what the network is given: the text, what of it is learned, and the shapes."""
    from roborefer_ros.models.roborefer.labels import IGNORE
    from roborefer_ros.training.data.items import fit_item, open_processor

    processor = open_processor(options.decode)
    for number in range(min(options.batch, len(data))):
        loaded = data[number]
        fitted = fit_item(processor, loaded)
        print(f"--- {loaded.sample.dataset}, row {loaded.sample.row_number}")
        if fitted is None:
            print("too long: not one question fits")
            continue
        item = fitted.item
        print(processor.tokenizer.decode(item.input_ids.tolist()))
        learned = item.input_ids[item.labels != IGNORE].tolist()
        print(f"learned: {processor.tokenizer.decode(learned)!r}")
        shapes = [
            f"{kind} {list(tiles.pixel_values.shape) if tiles.pixel_values is not None else 'none'}"
            for kind, tiles in (("picture tiles", item.images), ("depth tiles", item.depths))
        ]
        print(
            f"ids [{len(item.input_ids)}], {', '.join(shapes)}; {fitted.rows} rows of the language "
            f"model, {len(learned)} learned tokens, {fitted.dropped_pairs} pairs dropped"
        )
    return 0
