# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer for many clients: batches, and pictures that are encoded once.

The answers are those of one query at a time: rows of a batch are padded on the left, masked,
and keep their own positions, so nothing of one query reaches another.  Two things are reused:
the output of the vision towers and projectors, which depends on the picture alone, and the keys
and values of the prompt's part with the pictures, which comes before the words.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    InstructionTooLongError,
    InvalidGoalError,
    ModelOutOfMemoryError,
    NoPointInAnswerError,
    PointOutsideImageError,
    RoboReferError,
)
from roborefer_ros.models.roborefer.drafts import AnswerTemplate
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import (
    DEPTH,
    IMAGE,
    RoboReferProcessor,
    TiledPictures,
    normalise_placeholders,
    without_placeholders,
)
from roborefer_ros.pointing.answers import parse_tuples
from roborefer_ros.pointing.confidence import DIGITS, place_confidences
from roborefer_ros.pointing.prompts import roborefer_prompt
from roborefer_ros.server.batch_decoding import Row, decode_batch, read_prefixes
from roborefer_ros.server.engine import Done, EngineAnswer, Query, numbered
from roborefer_ros.server.pictures import Picture
from roborefer_ros.server.reuse import Encoded, Prefix, Recent

#: tiles that go through a vision tower at once; bounds the memory of a batch
_TILES_AT_ONCE = 32


_logger = logging.getLogger(__name__)


@dataclass
class _Work:
    """A query on its way through the model."""

    index: int
    query: Query
    embeds: torch.Tensor | None = None
    pictures: tuple[tuple[str, bytes], ...] = ()
    prefix_ids: tuple[int, ...] = ()
    prefix_rows: int = 0
    prompt_tokens: int = 0
    seen_before: bool = False
    timings_s: dict[str, float] = field(default_factory=dict)


class RoboReferEngine:
    """A RoboRefer checkpoint that answers batches.

    Args:
        name: the spec string it was opened from.
        model, processor: a loaded checkpoint.
        max_batch: queries that are answered together.
        max_new_tokens: of one answer, whatever a query allows.
        cache_bytes: memory for encoded pictures, on the model's device.
        prefix_bytes: memory for what the language model has read of them, likewise.
        drafts: guess ahead where a query is alone.
    """

    can_sample = True

    def __init__(
        self,
        name: str,
        model: RoboRefer,
        processor: RoboReferProcessor,
        *,
        max_batch: int = 8,
        max_new_tokens: int = 512,
        cache_bytes: int = 256 * 1024 * 1024,
        prefix_bytes: int = 512 * 1024 * 1024,
        drafts: bool = True,
    ) -> None:
        self.name = name
        self.uses_depth = model.config.has_depth
        self.max_batch = max_batch
        self._max_new_tokens = max_new_tokens
        self.cache: Recent[Encoded] = Recent(cache_bytes)
        self.prefixes: Recent[Prefix] = Recent(prefix_bytes)
        self._model = model
        self._processor = processor
        self._splice_ids = processor.splice_ids
        self._draft = AnswerTemplate(processor.tokenizer) if drafts else None
        self._digit_ids = processor.tokenizer.convert_tokens_to_ids(list(DIGITS))

    def close(self) -> None:
        """See ``Engine.close``."""
        self.cache.clear()
        self.prefixes.clear()
        del self._model

    @torch.inference_mode()
    def answer(self, queries: Sequence[Query], done: Done) -> None:
        """See ``Engine.answer``."""
        waiting = {index: _Work(index, query) for index, query in enumerate(queries)}

        def settle(index: int, outcome: EngineAnswer | RoboReferError) -> None:
            del waiting[index]
            done(index, outcome)

        failure = self._try(list(waiting.values()), settle)
        if isinstance(failure, ModelOutOfMemoryError) and len(waiting) > 1:
            for work in list(waiting.values()):  # what does not fit together may fit alone
                work.embeds = None
                alone = self._try([work], settle)
                if alone is not None:
                    settle(work.index, alone)
        elif failure is not None:
            for index in list(waiting):
                settle(index, failure)

    def _try(self, works: Sequence[_Work], done: Done) -> RoboReferError | None:
        """Answer a batch; returns what went wrong with all that have no outcome yet."""
        try:
            self._answer_together(works, done)
            return None
        except Exception as error:
            failure = numbered(error)
            _logger.warning("a batch of %d failed: %s", len(works), type(error).__name__)
            error.__traceback__ = None  # its frames hold the tensors that did not fit
        self._free()
        return failure

    def _free(self) -> None:
        self.cache.clear()
        self.prefixes.clear()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _answer_together(self, works: Sequence[_Work], done: Done) -> None:
        ready = []
        for work in works:
            try:
                self._prepare(work)
                ready.append(work)
            except (RoboReferError, ValueError) as error:
                done(work.index, numbered(error))
        if not ready:
            return
        started = time.perf_counter()

        prefixes = self._prefixes(ready)
        rows = [
            self._row(work, prefix, started, done)
            for work, prefix in zip(ready, prefixes, strict=True)
        ]
        decode_batch(
            self._model.llm,
            rows,
            stop_ids=self._processor.stop_ids,
            watched_ids=self._digit_ids,
        )

    def _row(self, work: _Work, prefix: Prefix | None, started: float, done: Done) -> Row:
        def listen(ids: Sequence[int]) -> None:
            if work.query.on_text is not None:
                work.query.on_text(self._decode(ids))

        def finish(row: Row) -> None:
            if row.error is not None:
                done(work.index, row.error)
                return
            work.timings_s["prefill"] = row.prefill_s
            work.timings_s["decode"] = time.perf_counter() - started - row.prefill_s
            done(work.index, self._outcome(work, row))

        assert work.embeds is not None
        work.prompt_tokens = len(work.embeds)
        return Row(
            embeds=work.embeds[prefix.length :] if prefix else work.embeds,
            prefix=prefix,
            max_new_tokens=min(
                work.query.max_new_tokens,
                self._max_new_tokens,
                self._processor.max_length - len(work.embeds),
            ),
            check=_checker(work.query),
            draft=self._draft,
            temperature=work.query.temperature,
            random=_random(work.query),
            on_token=listen,
            on_end=finish,
        )

    def _prefixes(self, works: Sequence[_Work]) -> list[Prefix | None]:
        """What the language model need not read again, for each query.

        The first query about a picture reads its prompt in one piece.  From the second on (or
        with the second in the same batch) the part with the pictures is read once and kept.
        """
        asked = Counter(work.pictures for work in works if work.pictures)
        again = [w for w in works if w.pictures and (w.seen_before or asked[w.pictures] > 1)]
        if not again or not self.prefixes.capacity_bytes:
            return [None] * len(works)
        # Rows without a prefix would be read padded to the longest: better read all in two steps.
        known: dict[Any, Prefix] = {}
        missing: dict[Any, _Work] = {}
        for work in works:
            if not work.pictures or work.pictures in known or work.pictures in missing:
                continue
            found = self.prefixes.get(work.pictures)
            if found is not None and found.ids == work.prefix_ids:
                known[work.pictures] = found
            else:
                missing[work.pictures] = work
        if missing:
            prompts = [w.embeds[: w.prefix_rows] for w in missing.values() if w.embeds is not None]
            ids = [w.prefix_ids for w in missing.values()]
            read = read_prefixes(self._model.llm, prompts, ids)
            for key, prefix in zip(missing, read, strict=True):
                self.prefixes.put(key, prefix)
                known[key] = prefix
        return [known.get(work.pictures) for work in works]

    # --- pictures ----------------------------------------------------------------------

    def _prepare(self, work: _Work) -> None:
        """Encode what is new and splice the prompt."""
        query, check = work.query, _checker(work.query)
        check()
        if query.is_instruction and len(query.images) != 1:
            raise InvalidGoalError(f"an instruction is about one image, not {len(query.images)}")
        if query.depths and not self.uses_depth:
            raise InvalidGoalError(f"{self.name} has no depth branch; ask it without depth")
        started = time.perf_counter()
        keys = [(IMAGE, p.digest) for p in query.images] + [(DEPTH, p.digest) for p in query.depths]
        work.pictures = tuple(keys)
        work.seen_before = all(key in self.cache for key in keys)
        images = self._encode(IMAGE, query.images)
        check()
        depths = self._encode(DEPTH, query.depths)
        check()
        text = roborefer_prompt(query.text) if query.is_instruction else query.text
        content = IMAGE * len(images) + DEPTH * len(depths) + without_placeholders(text)
        ids = self._processor.prompt_ids(
            self._processor.expand(
                normalise_placeholders(content), _counts(images), _counts(depths)
            )
        )
        image_rows = [rows for encoded in images for rows in encoded.rows]
        depth_rows = [rows for encoded in depths for rows in encoded.rows]
        work.embeds = self._model.splice(ids, image_rows, depth_rows, **self._splice_ids)
        if len(work.embeds) >= self._processor.max_length:
            raise InstructionTooLongError(
                f"pictures and words take {len(work.embeds)} rows of the model's context, which "
                f"has {self._processor.max_length} with the answer; send fewer pictures or words"
            )
        self._find_prefix(work, ids.tolist(), [*image_rows, *depth_rows])
        work.timings_s["encode"] = time.perf_counter() - started

    def _find_prefix(self, work: _Work, ids: list[int], media: Sequence[torch.Tensor]) -> None:
        """The prompt up to its last picture: its tokens and its rows."""
        kinds = {self._splice_ids["image_token_id"], self._splice_ids["depth_token_id"]}
        last = max((index for index, token in enumerate(ids) if token in kinds), default=-1)
        work.prefix_ids = tuple(ids[: last + 1])
        # Each placeholder became the rows of its medium and a newline.
        work.prefix_rows = last + 1 + sum(len(rows) for rows in media)

    def _encode(self, kind: str, pictures: Sequence[Picture]) -> list[Encoded]:
        return [self._encode_one(kind, picture) for picture in pictures]

    def _encode_one(self, kind: str, picture: Picture) -> Encoded:
        """From the cache, or through the towers."""
        found = self.cache.get((kind, picture.digest))
        if found is not None:
            return found
        tiled = self._processor.tile([picture.pixels])
        encode = self._model.encode_images if kind == IMAGE else self._model.encode_depths
        assert tiled.pixel_values is not None
        rows: list[torch.Tensor] = []
        if tiled.block_sizes:  # 8B mode mosaics all tiles of a picture into one map
            rows = encode(tiled.pixel_values, tiled.block_sizes)
        else:
            for tiles in tiled.pixel_values.split(_TILES_AT_ONCE):
                rows += encode(tiles)
        block_size = tiled.block_sizes[0] if tiled.block_sizes else None
        encoded = Encoded(tiled.counts[0], block_size, tuple(rows))
        self.cache.put((kind, picture.digest), encoded)
        return encoded

    # --- answers -----------------------------------------------------------------------

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._processor.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _outcome(self, work: _Work, row: Row) -> EngineAnswer:
        query = work.query
        text = self._decode(row.ids)
        facts: dict[str, Any] = {
            "timings_s": work.timings_s,
            "tokens": len(row.ids),
            "prompt_tokens": work.prompt_tokens,
            "cut_off": row.cut_off,
        }
        if not query.is_instruction:
            return EngineAnswer(text=text.strip(), **facts)
        try:
            matches = parse_tuples(text)
        except (NoPointInAnswerError, PointOutsideImageError) as error:
            error.answer = text.strip()
            return EngineAnswer(text=text.strip(), no_point=error, **facts)
        if query.max_points:
            matches = matches[: query.max_points]
        ends = [len(self._decode(row.ids[: n + 1])) for n in range(len(row.ids))]
        return EngineAnswer(
            text=text.strip(),
            points=tuple(match.point for match in matches),
            confidences=place_confidences(text, matches, ends, row.logprobs, row.watched),
            **facts,
        )


def _counts(pictures: Sequence[Encoded]) -> TiledPictures:
    """What ``expand`` wants to know about pictures that are encoded already."""
    blocks = [p.block_size for p in pictures if p.block_size is not None]
    return TiledPictures(tuple(p.tiles for p in pictures), None, blocks)


def _random(query: Query) -> torch.Generator | None:
    if not query.temperature:
        return None
    random = torch.Generator()
    random.seed() if query.seed is None else random.manual_seed(query.seed)
    return random


def _checker(query: Query) -> Any:
    """A function that raises when the answer is no longer wanted."""

    def check() -> None:
        if query.cancel.is_set():
            raise CanceledError("the client went away while the model answered")
        if query.deadline is not None and time.monotonic() > query.deadline:
            raise DeadlineExceededError(
                "the deadline passed while the model answered; allow a longer timeout, or ask "
                "when the server is less busy"
            )

    return check
