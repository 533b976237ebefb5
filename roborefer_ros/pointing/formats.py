# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Parsers for the answer formats of pointing models other than RoboRefer.

Each takes untrusted text and the size of the image that the model saw, and returns
normalised points in the order of the answer or raises ``NoPointInAnswerError`` or
``PointOutsideImageError``; nothing else, in linear time.  Only complete points count: a
number that a cut-off answer ends with may lack digits.  Where an answer holds several lists,
the last one counts.  A box counts as its centre.

Nothing here parses JSON or XML as such: a list that breaks off after its second point still
holds one, and nesting bombs have nothing to nest in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence

from roborefer_ros.errors import NoPointInAnswerError
from roborefer_ros.pointing.answers import (
    BLANKS,
    MAX_POINTS,
    NUMBER,
    TupleMatch,
    answer_part,
    inside_image,
    no_point,
    parse_tuples,
    shortened,
)
from roborefer_ros.pointing.point_lists import CORNERS, answer_list, corners_of

#: ``(width, height)`` in pixels of the image as the model saw it
ImageSize = tuple[int, int]

#: what every format offers
Parser = Callable[[str, ImageSize], tuple[TupleMatch, ...]]

#: points of one JSON list stand closer to each other than this, labels included
_MAX_JSON_GAP = 4000

_PAIR = rf"[\[(]{BLANKS}({NUMBER}){BLANKS},{BLANKS}({NUMBER}){BLANKS}[\])]"
#: a key inside an escaped string is a label's text, not a point
_POINT_2D = re.compile(rf'(?<!\\)"point_2d"{BLANKS}:{BLANKS}{_PAIR}')
_POINT = re.compile(rf'(?<!\\)"point"{BLANKS}:{BLANKS}{_PAIR}')
_XY_OBJECT = re.compile(
    rf'\{{{BLANKS}"x"{BLANKS}:{BLANKS}({NUMBER}){BLANKS},'
    rf'{BLANKS}"y"{BLANKS}:{BLANKS}({NUMBER}){BLANKS}\}}'
)
#: what can change whether a new list of objects begins: escapes, quotes, "[{"
_JSON_TOKEN = re.compile(r'\\.|"|\[[ \t\r\n]{0,16}\{', re.DOTALL)

#: a pair of fractions is dropped as well: as thousandths they would all mean the top left corner
_THOUSAND_RULE = "its coordinates must lie between 0 and 1000, not 0 and 1, to be in the image"

_TUPLE_2_OR_3 = re.compile(
    rf"\({BLANKS}({NUMBER}){BLANKS},{BLANKS}({NUMBER})(?:{BLANKS},{BLANKS}{NUMBER})?{BLANKS}\)"
)

#: "[320, 240]", as lists without keys are
_LIST_OF_TWO = re.compile(rf"\[{BLANKS}({NUMBER}){BLANKS},{BLANKS}({NUMBER}){BLANKS}\]")

_FOUR = (
    rf"[\[(]{BLANKS}({NUMBER}){BLANKS},{BLANKS}({NUMBER}){BLANKS}(?:,|\){BLANKS},{BLANKS}\()"
    rf"{BLANKS}({NUMBER}){BLANKS},{BLANKS}({NUMBER}){BLANKS}[\])]"
)
#: boxes: of JSON, of Qwen's and InternVL's tokens, and lists of four numbers
_BOX = re.compile(
    rf'(?:(?<!\\)"(?:bbox_2d|bbox|box_2d)"{BLANKS}:|<\|box_start\|>|<box>{BLANKS}\[?|\[(?=\[)|(?=\[)'
    rf"|(?=\({BLANKS}{NUMBER}{BLANKS},{BLANKS}{NUMBER}{BLANKS},{BLANKS}{NUMBER}{BLANKS},)){BLANKS}{_FOUR}"
)
_XY_BOX = re.compile(
    rf'"x_min"{BLANKS}:{BLANKS}({NUMBER}){BLANKS},{BLANKS}"y_min"{BLANKS}:{BLANKS}({NUMBER}){BLANKS},'
    rf'{BLANKS}"x_max"{BLANKS}:{BLANKS}({NUMBER}){BLANKS},{BLANKS}"y_max"{BLANKS}:{BLANKS}({NUMBER})'
)

_XML_TAG = re.compile(r"<(?:points?|tracks)(?=\s)([^<>]*)")
_XML_ATTRIBUTE = re.compile(r'(?<![\w"])([A-Za-z]{1,8})([0-9]{0,4})\s{0,4}=\s{0,4}"([^"]*)("?)')
_PERCENT = re.compile(rf"\s{{0,8}}({NUMBER})\s{{0,8}}")

_FLORENCE_RUN = re.compile(r"(?:<loc_[0-9]{1,3}>)+")
_PALIGEMMA_RUN = re.compile(r"(?:<loc[0-9]{4}>)+")
_BIN_RUN = re.compile(r"(?:<[0-9]{1,3}>)+")
_DIGITS = re.compile(r"[0-9]+")


def _centres(
    pattern: re.Pattern[str], answer: str, x_range: float, y_range: float
) -> list[TupleMatch]:
    """The middles of all boxes."""
    found = []
    for match in pattern.finditer(answer):
        a, b, c, d = (float(value) for value in match.group(1, 2, 3, 4))
        if a <= c and b <= d and (d > 1.0 or x_range == 1.0):
            found.append(TupleMatch(((a + c) / 2 / x_range, (b + d) / 2 / y_range), match.span()))
    return found


def parse_unit_tuples(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``[(0.359, 0.778)]``: x, y in 0 to 1 (RoboRefer, RoboPoint, Magma, InternVL, Pelican)."""
    return parse_tuples(text)


def parse_thousand_tuples(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``[(176, 788)]`` or ``[(176, 788, 0.945)]``: x, y in 0 to 1000, then perhaps depth in m.

    RoboBrain 2.5 and RoboTracer.
    """
    answer = answer_part(text)
    if boxes := _centres(_BOX, answer, 1000.0, 1000.0):
        return inside_image(boxes, text, _THOUSAND_RULE)
    found = answer_list(_TUPLE_2_OR_3, answer)
    if not found:
        raise no_point(text, "(176, 788) or (176, 788, 0.945)")
    return inside_image(
        [_scaled(m, 1000.0, 1000.0) for m in found if not _are_fractions(m)],
        text,
        _THOUSAND_RULE,
    )


def parse_pixels(text: str, size: ImageSize) -> tuple[TupleMatch, ...]:
    """JSON ``point_2d`` or ``(x, y)`` in pixels of the image as the model saw it.

    Qwen2.5-VL, MiMo and RoboBrain 2.0.  Pairs of fractions are dropped: as pixels they would
    all mean the top left corner.
    """
    answer = answer_part(text)
    found = _last_json(_POINT_2D, answer)
    if not found and (boxes := _centres(_BOX, answer, float(size[0]), float(size[1]))):
        return inside_image(
            boxes, text, f"its boxes must be pixels of the {size[0]}x{size[1]} image that it saw"
        )
    corners = corners_of(*size)
    found = found or answer_list(_TUPLE_2_OR_3, answer, corners)
    found = found or _bare_pairs(_LIST_OF_TWO, answer, corners)
    if not found:
        raise no_point(text, '{"point_2d": [320, 240]} or (320, 240)')
    width, height = size
    return inside_image(
        [_scaled(m, float(width), float(height)) for m in found if not _are_fractions(m)],
        text,
        f"its coordinates must be pixels of the {width}x{height} image that it saw",
    )


def parse_thousand_json(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``[{"point_2d": [x, y], "label": ...}]``: x, y in 0 to 1000.

    Qwen3-VL, Qwen3.5, Gemma 4, Embodied-R1.5, UnifoLM, SPARC and Cosmos 3.
    """
    answer = answer_part(text)
    found = _last_json(_POINT_2D, answer)
    if not found and (boxes := _centres(_BOX, answer, 1000.0, 1000.0)):
        return inside_image(boxes, text, _THOUSAND_RULE)
    found = found or _bare_pairs(_TUPLE_2_OR_3, answer) or _bare_pairs(_LIST_OF_TWO, answer)
    if not found:
        raise no_point(text, '{"point_2d": [412, 655]}')
    return inside_image(
        [_scaled(m, 1000.0, 1000.0) for m in found if not _are_fractions(m)],
        text,
        _THOUSAND_RULE,
    )


def parse_gemini_json(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``[{"point": [y, x], "label": ...}]``: **y first**, 0 to 1000 (Gemini, Robotics-ER)."""
    answer = answer_part(text)
    found = _last_json(_POINT, answer)
    if not found and (boxes := _centres(_BOX, answer, 1000.0, 1000.0)):
        return inside_image([_swapped(box) for box in boxes], text, _THOUSAND_RULE)
    if not found:
        raise no_point(text, '{"point": [655, 412]}')
    return inside_image(
        [_swapped(_scaled(m, 1000.0, 1000.0)) for m in found if not _are_fractions(m)],
        text,
        _THOUSAND_RULE,
    )


def parse_moondream(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``{"points": [{"x": 0.359, "y": 0.440}]}``: x, y in 0 to 1 (Moondream's point skill)."""
    answer = answer_part(text)
    found = _last_json(_XY_OBJECT, answer)
    if not found and (boxes := _centres(_XY_BOX, answer, 1.0, 1.0)):
        return inside_image(boxes, text, "its coordinates must lie between 0 and 1")
    if not found:
        raise no_point(text, '{"x": 0.359, "y": 0.440}')
    return inside_image(
        [_scaled(m, 1.0, 1.0) for m in found], text, "its coordinates must lie between 0 and 1"
    )


def parse_molmo(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``<point x="63.5" y="44.5" ..>`` or ``<points x1=".." y1=".." ..>``: 0 to 100 (Molmo 1)."""
    return _parse_xml(
        text, _molmo_points, '<point x="63.5" y="44.5">', "its coordinates must be 0 to 100"
    )


def parse_molmo2(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``<points coords="1 1 461 527 2 481 521">label</points>`` (Molmo 2, Molmo ER).

    First the number of the image, then triples of point number, x and y, both 0 to 1000 with
    three or four digits.  Images are separated by tab, colon, comma or semicolon; only the
    first image counts, since only one is shown.
    """
    return _parse_xml(
        text, _molmo2_points, '<points coords="1 1 461 527">', "its coordinates must be 0 to 1000"
    )


def parse_florence(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``<loc_412><loc_655>``: x, y in 1000 bins; runs of four are boxes (Florence-2)."""
    return _parse_bins(text, _FLORENCE_RUN, 1000, "<loc_412><loc_655>")


def parse_paligemma(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``<loc0655><loc0412>``: **y first**, 1024 bins; runs of four are boxes (PaliGemma)."""
    matches = _parse_bins(text, _PALIGEMMA_RUN, 1024, "<loc0655><loc0412>")
    return tuple(_swapped(match) for match in matches)


def parse_bins(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``<412><655>``: x, y in 1000 bins; runs of four are boxes (Rex-Omni, LocateAnything)."""
    return _parse_bins(text, _BIN_RUN, 1000, "<412><655>")


def _bare_pairs(
    pattern: re.Pattern[str], answer: str, corners: Collection[float] = CORNERS
) -> list[re.Match[str]]:
    """Pairs of an answer without any JSON object; in one, pairs without the key mean others."""
    return [] if "{" in answer else answer_list(pattern, answer, corners)


def _scaled(match: re.Match[str], x_range: float, y_range: float) -> TupleMatch:
    return TupleMatch(
        (float(match.group(1)) / x_range, float(match.group(2)) / y_range), match.span()
    )


def _swapped(match: TupleMatch) -> TupleMatch:
    y, x = match.point
    return TupleMatch((x, y), match.span)


def _are_fractions(match: re.Match[str]) -> bool:
    texts = match.group(1, 2)
    return any("." in t for t in texts) and all(abs(float(t)) <= 1.0 for t in texts)


def _last_json(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """The last run of matches in which no new list begins, strings aside."""
    group: list[re.Match[str]] = []
    for match in pattern.finditer(text):
        if group and _opens_list(text, group[-1].end(), match.start()):
            group = []
        group.append(match)
    return group


def _opens_list(text: str, start: int, end: int) -> bool:
    """Whether a list of objects begins between two points (or they are far apart)."""
    if end - start > _MAX_JSON_GAP:
        return True
    in_string = False
    for token in _JSON_TOKEN.finditer(text, start, end):
        if token.group() == '"':
            in_string = not in_string
        elif token.group()[0] == "[" and not in_string:
            return True
    return False


def _parse_xml(
    text: str,
    points_of: Callable[[str, int], Sequence[TupleMatch]],
    example: str,
    rule: str,
) -> tuple[TupleMatch, ...]:
    """The points of all tags: Molmo writes one tag for each point, or one for all."""
    answer = answer_part(text)
    found = [
        match
        for tag in _XML_TAG.finditer(answer)
        for match in points_of(tag.group(1), tag.start(1))
    ]
    if not found:
        raise no_point(text, example)
    return inside_image(found, text, rule)


def _attributes(body: str) -> Iterator[tuple[str, str, str, bool, tuple[int, int]]]:
    """Name, number in the name, value, whether the value is closed, and span of the value."""
    for m in _XML_ATTRIBUTE.finditer(body):
        yield m.group(1).lower(), m.group(2), m.group(3), bool(m.group(4)), m.span(3)


def _molmo_points(body: str, offset: int) -> list[TupleMatch]:
    matches: list[TupleMatch] = []
    x: tuple[str, float, int] | None = None
    for name, number, value, closed, (start, end) in _attributes(body):
        parsed = _PERCENT.fullmatch(value) if closed else None
        if parsed is None or name not in ("x", "y"):
            x = None
        elif name == "x":
            x = (number, float(parsed.group(1)), start)
        else:
            if x is not None and x[0] == number:
                point = (x[1] / 100.0, float(parsed.group(1)) / 100.0)
                # two fractions are no percentages: they would all mean the top left corner
                if "." not in value or max(point) > 0.01:
                    matches.append(TupleMatch(point, (offset + x[2], offset + end)))
            x = None
    return matches


def _molmo2_points(body: str, offset: int) -> list[TupleMatch]:
    matches: list[TupleMatch] = []
    for name, _, value, closed, (start, _end) in _attributes(body):
        if name == "coords":
            matches += _molmo2_coords(value, closed, offset + start)
    return matches


def _molmo2_coords(value: str, closed: bool, offset: int) -> list[TupleMatch]:
    """Triples of the first image, up to the first that is not of the form."""
    first_image = re.split(r"[\t:;,]", value, maxsplit=1)[0]
    numbers = list(re.finditer(r"[^ ]+", first_image))
    if not closed and len(first_image) == len(value):
        numbers = numbers[:-1]  # the last one may lack digits
    if not numbers or numbers[0].group() != "1":
        return []
    matches: list[TupleMatch] = []
    for index, x, y in zip(numbers[1::3], numbers[2::3], numbers[3::3], strict=False):
        is_triple = re.fullmatch(r"[0-9]{1,4}", index.group()) and all(
            re.fullmatch(r"[0-9]{3,4}", part.group()) for part in (x, y)
        )
        if not is_triple or len(matches) >= MAX_POINTS:
            break
        point = (int(x.group()) / 1000.0, int(y.group()) / 1000.0)
        matches.append(TupleMatch(point, (offset + x.start(), offset + y.end())))
    return matches


def _parse_bins(
    text: str, pattern: re.Pattern[str], bins: int, example: str
) -> tuple[TupleMatch, ...]:
    """Location tokens: a run of two is a point, of four (or a multiple) boxes."""
    matches: list[TupleMatch] = []
    for run in pattern.finditer(answer_part(text)):
        values = [(int(m.group()) + 0.5) / bins for m in _DIGITS.finditer(run.group())]
        matches += _points_of_run(values, run.span())
    if not matches:
        raise no_point(text, example)
    return inside_image(matches, text, f"its location tokens must lie below {bins}")


def _points_of_run(values: Sequence[float], span: tuple[int, int]) -> list[TupleMatch]:
    if len(values) == 2:
        return [TupleMatch((values[0], values[1]), span)]
    boxes = zip(values[0::4], values[1::4], values[2::4], values[3::4], strict=False)
    return [TupleMatch(((a + c) / 2, (b + d) / 2), span) for a, b, c, d in boxes]


def parse_echo(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    """``[(x, y)]`` in [0, 1] that an instruction itself holds."""
    try:
        return parse_tuples(text)
    except NoPointInAnswerError as error:
        raise NoPointInAnswerError(
            f"{shortened(text)!r} holds no point, and model 'echo' understands nothing "
            'else; write "[(0.5, 0.5)]", or choose a model'
        ) from error
