# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer for many clients: batches, and pictures that are encoded once.

The answers are those of one query at a time: rows of a batch are padded on the left, masked,
and keep their own positions, so nothing of one query reaches another.  What is reused is the
output of the vision towers and projectors, which depends on the picture alone.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    InvalidGoalError,
    ModelOutOfMemoryError,
    NoPointInAnswerError,
    PointOutsideImageError,
    RoboReferError,
)
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import (
    DEPTH,
    IMAGE,
    RoboReferProcessor,
    TiledPictures,
    normalise_placeholders,
    without_placeholders,
)
from roborefer_ros.pointing.families import FAMILIES, answer_from_text
from roborefer_ros.pointing.prompts import roborefer_prompt
from roborefer_ros.server.batch_decoding import Row, decode_batch
from roborefer_ros.server.engine import Done, EngineAnswer, Query, numbered
from roborefer_ros.server.pictures import Picture

#: tiles that go through a vision tower at once; bounds the memory of a batch
_TILES_AT_ONCE = 32


_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """One picture as the language model sees it.

    Attributes:
        tiles: how many it was cut into.
        block_size: (rows, columns) of the last grid in 8B mode, else None.
        rows: embeddings per placeholder, ``[rows, hidden]`` each.
    """

    tiles: int
    block_size: tuple[int, int] | None
    rows: tuple[torch.Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""
        return sum(rows.numel() * rows.element_size() for rows in self.rows)


class EncodedCache:
    """The most recently used encoded pictures, up to a number of bytes."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._entries: OrderedDict[tuple[str, bytes], Encoded] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0

    def get(self, kind: str, picture: Picture) -> Encoded | None:
        """The encoded picture, if it is still there."""
        found = self._entries.get((kind, picture.digest))
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end((kind, picture.digest))
        return found

    def put(self, kind: str, picture: Picture, encoded: Encoded) -> None:
        """Keep it, and drop what was used longest ago."""
        key = (kind, picture.digest)
        if encoded.size_bytes > self._capacity or key in self._entries:
            return
        self._entries[key] = encoded
        self.size_bytes += encoded.size_bytes
        while self.size_bytes > self._capacity:
            _, oldest = self._entries.popitem(last=False)
            self.size_bytes -= oldest.size_bytes

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self.size_bytes = 0


@dataclass
class _Work:
    """A query on its way through the model."""

    index: int
    query: Query
    embeds: torch.Tensor | None = None
    timings_s: dict[str, float] = field(default_factory=dict)


class RoboReferEngine:
    """A RoboRefer checkpoint that answers batches.

    Args:
        name: the spec string it was opened from.
        model, processor: a loaded checkpoint.
        max_batch: queries that are answered together.
        cache_bytes: memory for encoded pictures, on the model's device.
    """

    def __init__(
        self,
        name: str,
        model: RoboRefer,
        processor: RoboReferProcessor,
        *,
        max_batch: int = 8,
        cache_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self.name = name
        self.uses_depth = model.config.has_depth
        self.max_batch = max_batch
        self.cache = EncodedCache(cache_bytes)
        self._model = model
        self._processor = processor
        self._splice_ids = processor.splice_ids
        self._stop_id: int = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")

    def close(self) -> None:
        """See ``Engine.close``."""
        self.cache.clear()
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

        rows = [self._row(work, started, done) for work in ready]
        decode_batch(self._model.llm, rows, stop_id=self._stop_id)

    def _row(self, work: _Work, started: float, done: Done) -> Row:
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
        return Row(
            embeds=work.embeds,
            max_new_tokens=work.query.max_new_tokens,
            check=_checker(work.query),
            on_token=listen,
            on_end=finish,
        )

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
        work.embeds = self._model.splice(
            ids,
            [rows for encoded in images for rows in encoded.rows],
            [rows for encoded in depths for rows in encoded.rows],
            **self._splice_ids,
        )
        work.timings_s["encode"] = time.perf_counter() - started

    def _encode(self, kind: str, pictures: Sequence[Picture]) -> list[Encoded]:
        return [self._encode_one(kind, picture) for picture in pictures]

    def _encode_one(self, kind: str, picture: Picture) -> Encoded:
        """From the cache, or through the towers."""
        found = self.cache.get(kind, picture)
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
        self.cache.put(kind, picture, encoded)
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
            "cut_off": row.cut_off,
        }
        if not query.is_instruction:
            return EngineAnswer(text=text.strip(), **facts)
        height, width = query.images[0].pixels.shape[:2]
        try:
            answer = answer_from_text(
                FAMILIES["tuples"],
                text,
                (width, height),
                max_points=query.max_points,
                token_ends=[len(self._decode(row.ids[: n + 1])) for n in range(len(row.ids))],
                logprobs=row.logprobs,
            )
        except (NoPointInAnswerError, PointOutsideImageError) as error:
            return EngineAnswer(text=text.strip(), no_point=error, **facts)
        return EngineAnswer(
            text=answer.text, points=answer.points, confidences=answer.confidences, **facts
        )


def _counts(pictures: Sequence[Encoded]) -> TiledPictures:
    """What ``expand`` wants to know about pictures that are encoded already."""
    blocks = [p.block_size for p in pictures if p.block_size is not None]
    return TiledPictures(tuple(p.tiles for p in pictures), None, blocks)


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
