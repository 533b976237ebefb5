# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer behind the seam: batches, and pictures and prompts that are read once.

In process and behind the server it is the same.  Two things are kept between requests: the output
of the vision towers and projectors, which depends on the picture alone, and the keys and values of
the prompts read last, which serve every prompt that begins alike.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from roborefer_ros.errors import (
    InstructionTooLongError,
    InvalidGoalError,
    ModelOutOfMemoryError,
    RoboReferError,
)
from roborefer_ros.inference.caches import (
    EncodedPicture,
    LRUCache,
    Prefix,
    PrefixCache,
    VisionCache,
    common_length,
)
from roborefer_ros.inference.decoding import Decoder, Row
from roborefer_ros.inference.device import numbered
from roborefer_ros.inference.fixed_shapes import FixedShapes
from roborefer_ros.inference.kv_cache import KVCache
from roborefer_ros.inference.lanes import Lanes
from roborefer_ros.inference.model import (
    Completion,
    Outcome,
    Picture,
    Request,
    SamplingParams,
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

#: tiles that go through a vision tower at once; bounds the memory of a batch
_TILES_AT_ONCE = 32

_DIGITS = "0123456789"

_ADVICE = (
    "nothing else is lost. Send smaller or fewer pictures, use dtype bfloat16 or a smaller model, "
    "close other programs on the GPU, or start the server with a smaller --max-batch"
)

_logger = logging.getLogger(__name__)

#: kind and digest of each picture of a prompt
PictureKey = tuple[tuple[str, bytes], ...]


@dataclass
class _Work:
    """A request on its way through the network.

    Attributes:
        index: Place in the batch of requests.
        pictures: What tells its pictures apart.
        ids: Tokens of the prompt, one per placeholder.
        ends: Rows of the prompt up to and with each token.
        media_count: Tokens up to and with the last placeholder.
        embeds: ``[N, hidden]`` of the spliced prompt.
        error: What ended it before it was decoded.
        timings_s: Seconds of each stage, which it shares with its batch.
    """

    index: int
    request: Request
    pictures: PictureKey = ()
    ids: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    media_count: int = 0
    embeds: torch.Tensor | None = None
    error: RoboReferError | None = None
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def prompt(self) -> torch.Tensor:
        assert self.embeds is not None
        return self.embeds


class RoboReferModel:
    """A RoboRefer checkpoint that completes batches of prompts.

    Args:
        name: Spec string it was opened from.
        network: Loaded network.
        processor: Its tokenizer and image side.
        max_batch: Greatest number of requests that are answered together.
        max_new_tokens: Greatest length of an answer, tokens, whatever a request allows.
        use_depth: Whether depth pictures are shown to a network that has a depth branch.
        vision: What is kept of pictures.
        prefixes: What is kept of prompts.
        drafts: Whether the brackets between coordinates are guessed.
        fixed_shapes: Whether decode steps keep their shapes, which is what CUDA graphs need; they
            are captured where the network is on a GPU.
    """

    can_sample = True

    def __init__(
        self,
        name: str,
        network: RoboRefer,
        processor: RoboReferProcessor,
        *,
        max_batch: int = 8,
        max_new_tokens: int = 512,
        use_depth: bool = True,
        vision: VisionCache | None = None,
        prefixes: PrefixCache | None = None,
        drafts: bool = True,
        fixed_shapes: bool = False,
    ) -> None:
        self.name = name
        self.uses_depth = network.config.has_depth and use_depth
        self.max_batch = max_batch
        self.max_new_tokens = max_new_tokens
        self.network = network
        self.processor = processor
        self.vision: VisionCache = vision if vision is not None else LRUCache(256 * 2**20)
        self.prefixes: PrefixCache = prefixes if prefixes is not None else LRUCache(512 * 2**20)
        self.draft = AnswerTemplate(processor.tokenizer) if drafts else None
        self._splice_ids = processor.splice_ids
        self._digit_ids = processor.tokenizer.convert_tokens_to_ids(list(_DIGITS))
        longest = self.draft.longest if self.draft else 0
        config = network.config.llm
        self._fixed = FixedShapes(config, 1 + longest) if fixed_shapes else None
        self._lanes = Lanes(network.device)

    def close(self) -> None:
        """See ``Model.close``."""
        self.forget()
        del self.network

    @torch.inference_mode()
    def warm_up(self, width: int = 640, height: int = 480) -> None:
        """Answer about a grey picture twice: kernels are chosen and graphs captured before a goal.

        Args:
            width: Width of the camera's pictures, pixels; their shape decides the tiles.
            height: Height of the camera's pictures, pixels.

        Raises:
            RoboReferError: What the answer ended in, e.g. a memory that is too small.
        """
        grey = np.full((height, width), 128, np.uint8)
        depths = (Picture.of(grey),) if self.uses_depth else ()
        image = Picture.of(np.repeat(grey[..., None], 3, axis=2))
        sampling = SamplingParams(max_tokens=8)
        for text in ("Point to the mug.", "Point to the free space beside the mug."):
            ((_, outcome),) = self.complete([Request(text, (image,), depths, sampling)])
            if isinstance(outcome, RoboReferError):
                raise outcome
        for cache in (self.vision, self.prefixes):
            cache.clear()
            cache.hits = cache.misses = 0

    def forget(self) -> None:
        """Drop what is kept of pictures and prompts, and free its memory."""
        self.vision.clear()
        self.prefixes.clear()
        if self._fixed is not None:
            self._fixed.forget()
        if self.network.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``."""
        for start in range(0, len(requests), self.max_batch):
            batch = requests[start : start + self.max_batch]
            for index, outcome in self._batch(batch):
                yield start + index, outcome

    def _batch(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        waiting = {index: _Work(index, request) for index, request in enumerate(requests)}
        failure = yield from self._attempt(waiting)
        if isinstance(failure, ModelOutOfMemoryError) and len(waiting) > 1:
            for index, work in list(waiting.items()):  # what does not fit together may fit alone
                alone = {index: _Work(index, work.request)}
                own = yield from self._attempt(alone)
                for left in alone:
                    yield left, own or failure
        elif failure is not None:
            for index in list(waiting):
                yield index, failure

    def _attempt(
        self, waiting: dict[int, _Work]
    ) -> Generator[tuple[int, Outcome], None, RoboReferError | None]:
        """Answer works together, removing each that has its outcome.

        Returns:
            What went wrong with all that are left.
        """
        try:
            for index, outcome in self._together(list(waiting.values())):
                del waiting[index]
                yield index, outcome
            return None
        except Exception as error:
            failure = numbered(error, _ADVICE)
            if not isinstance(error, RoboReferError):
                # Not the message: it could hold what a client sent.
                _logger.warning(
                    "a batch of %d failed: %s", len(waiting), type(error).__name__, exc_info=False
                )
            error.__traceback__ = None  # its frames hold the tensors that did not fit
        self.forget()
        return failure

    def _together(self, works: Sequence[_Work]) -> Iterator[tuple[int, Outcome]]:
        ready = []
        for work, error in self._prepared(works):
            if error is not None:
                yield work.index, error
            else:
                ready.append(work)
        if not ready:
            return
        started = time.perf_counter()
        decoder = Decoder(
            self.network.llm,
            stop_ids=self.processor.stop_ids,
            tracked_ids=self._digit_ids,
            fixed=self._fixed,
        )
        rows = {self._row(work): work for work in ready}
        for row in self._decoded(decoder, rows):
            work = rows[row]
            if row.error is not None:
                yield work.index, row.error
                continue
            work.timings_s["prefill"] = row.prefill_s
            work.timings_s["decode"] = time.perf_counter() - started - row.prefill_s
            yield work.index, self._completion(work, row)

    def _row(self, work: _Work) -> Row:
        request, sampling = work.request, work.request.sampling
        random = None
        if sampling.temperature > 0.0:
            random = torch.Generator()
            if sampling.seed is None:
                random.seed()
            else:
                random.manual_seed(sampling.seed)
        room = self.processor.max_length - len(work.prompt)
        row = Row(
            embeds=work.prompt,
            max_new_tokens=min(sampling.max_tokens or room, self.max_new_tokens, room),
            cancellation=request.cancellation,
            temperature=sampling.temperature,
            random=random,
        )
        if self.draft is not None:
            row.draft = self.draft
        if (on_text := request.on_text) is not None:
            skip = sampling.skip_special_tokens
            row.on_token = lambda ids: on_text(self._decode(ids, skip))
        return row

    # --- what was read before ----------------------------------------------------------------

    def _decoded(self, decoder: Decoder, rows: dict[Row, _Work]) -> Iterator[Row]:
        """Decode, from what is kept of the prompts, and keep what has been read."""
        if len(rows) == 1 and self._fixed is None:
            ((row, work),) = rows.items()
            yield from self._decoded_alone(decoder, row, work)
            return
        known = self._known(decoder, list(rows.values()))
        cache = decoder.cache_for(list(rows))
        for number, (row, work) in enumerate(rows.items()):
            if (prefix := known.get(work.pictures)) is not None:
                row.known = prefix.shared(work.ids)
                cache.copy_row(prefix.cache, 0, number, row.known)

        def keep(alive: Sequence[Row], cache: KVCache) -> None:
            for number, row in enumerate(alive):
                work = rows[row]
                if work.pictures and work.pictures not in known:
                    self._keep(work, cache, number, len(work.ids))

        yield from decoder.run(list(rows), cache, keep)

    def _decoded_alone(self, decoder: Decoder, row: Row, work: _Work) -> Iterator[Row]:
        """One row decodes in the memory of the prompt that it shares: nothing is copied."""
        prefix = self.prefixes.pop(work.pictures) if work.pictures else None
        if prefix is None:
            self.prefixes.make_room()
            prefix = Prefix(decoder.cache_for([row]), (), ())
        row.known = prefix.shared(work.ids)
        prefix.keep_only(row.known)
        try:
            yield from decoder.run([row], prefix.cache)
        finally:
            if row.length >= len(work.prompt):  # the whole prompt has been read
                prefix.ids, prefix.ends = work.ids, work.ends
            if work.pictures and prefix.ids:
                self.prefixes.put(work.pictures, prefix)

    def _known(self, decoder: Decoder, works: Sequence[_Work]) -> dict[PictureKey, Prefix]:
        """What the rows of a batch need not read, by their pictures.

        Pictures that several rows are about are read once, before the rows.  Where one row
        has a prefix, the others get theirs first as well: they would be read together with
        rows that are much shorter.
        """
        groups: dict[PictureKey, list[_Work]] = {}
        for work in works:
            if work.pictures:
                groups.setdefault(work.pictures, []).append(work)
        known = {}
        for key, group in groups.items():
            found = self.prefixes.get(key)
            if found is not None and found.shared(group[0].ids):
                known[key] = found
        missing = [group for key, group in groups.items() if key not in known]
        if not known and all(len(group) == 1 for group in missing):
            return {}
        leaders = [(group[0], _shared_count(group)) for group in missing]
        leaders = [(work, count) for work, count in leaders if count]
        if leaders:
            cache = decoder.read([work.prompt[: work.ends[n - 1]] for work, n in leaders])
            for number, (work, count) in enumerate(leaders):
                known[work.pictures] = self._keep(work, cache, number, count)
        return known

    def _keep(self, work: _Work, cache: KVCache, number: int, count: int) -> Prefix:
        """Keep a copy of the first tokens of a row."""
        slots = work.ends[count - 1]
        own = cache.row(number, slots, self.network.config.llm)
        prefix = Prefix(own, work.ids[:count], work.ends[:count])
        self.prefixes.put(work.pictures, prefix)
        return prefix

    # --- pictures ----------------------------------------------------------------------------

    def _prepared(self, works: Sequence[_Work]) -> Iterator[tuple[_Work, RoboReferError | None]]:
        """Encode what is new, and splice the prompts; with the error of those that fail."""
        timings: dict[str, float] = {}
        encoded = self._encoded([work for work in works if self._is_sound(work)], timings)
        for work in works:
            if work.error is None:
                work.timings_s.update(timings)
                self._guarded(work, self._splice, work, encoded)
            yield work, work.error

    @staticmethod
    def _guarded(work: _Work, step: Callable[..., Any], *arguments: Any) -> bool:
        """Do a step for a request that is still wanted; notes the error of this request alone."""
        if work.error is not None:
            return False
        try:
            work.request.cancellation.check()
            step(*arguments)
        except (RoboReferError, ValueError) as error:
            work.error = numbered(error, _ADVICE)
        return work.error is None

    def _is_sound(self, work: _Work) -> bool:
        request = work.request
        work.pictures = (
            *((IMAGE, picture.digest) for picture in request.images),
            *((DEPTH, picture.digest) for picture in request.depths),
        )

        def check() -> None:
            if request.depths and not self.uses_depth:
                raise InvalidGoalError(f"{self.name} has no depth branch; ask it without depth")

        return self._guarded(work, check)

    def _encoded(
        self, works: Sequence[_Work], timings: dict[str, float]
    ) -> dict[tuple[str, bytes], EncodedPicture]:
        """All pictures of a batch: from the cache, or together through their tower."""
        encoded: dict[tuple[str, bytes], EncodedPicture] = {}
        started = time.perf_counter()
        new: dict[str, dict[tuple[str, bytes], TiledPictures]] = {IMAGE: {}, DEPTH: {}}
        for kind, own in new.items():
            for work in works:
                pictures = work.request.images if kind == IMAGE else work.request.depths
                self._guarded(work, self._find, kind, pictures, encoded, own)
        tiled = time.perf_counter()
        with self._lanes.beside(bool(new[IMAGE] and new[DEPTH])):
            depths = list(self._through_tower(DEPTH, new[DEPTH]))
        for key, value in (*self._through_tower(IMAGE, new[IMAGE]), *depths):
            encoded[key] = value
            self.vision.put(key, value)
        self._lanes.join()
        ended = time.perf_counter()
        timings["preprocess"] = timings.get("preprocess", 0.0) + tiled - started
        timings["encode"] = timings.get("encode", 0.0) + ended - tiled
        return encoded

    def _find(
        self,
        kind: str,
        pictures: Sequence[Picture],
        encoded: dict[tuple[str, bytes], EncodedPicture],
        new: dict[tuple[str, bytes], TiledPictures],
    ) -> None:
        """Look pictures up; those that are new are cut into tiles."""
        for picture in pictures:
            key = (kind, picture.digest)
            if key in encoded or key in new:
                continue
            found = self.vision.get(key)
            if found is not None:
                encoded[key] = found
            else:
                self.vision.make_room()
                new[key] = self._cut(picture)

    def _cut(self, picture: Picture) -> TiledPictures:
        """Tiles of a picture: on a GPU from one upload of its bytes, which is the same values."""
        if self.network.device.type == "cuda":
            return self.processor.tile_on(picture.pixels, self.network.device)
        return self.processor.tile([picture.pixels])

    def _through_tower(
        self, kind: str, new: dict[tuple[str, bytes], TiledPictures]
    ) -> Iterator[tuple[tuple[str, bytes], EncodedPicture]]:
        """Rows of new pictures, so many tiles at once as memory allows."""
        encode = self.network.encode_images if kind == IMAGE else self.network.encode_depths
        pixels = {k: t.pixel_values for k, t in new.items() if t.pixel_values is not None}
        rows: list[torch.Tensor] = []
        if self.network.config.image_aspect_ratio == "dynamic" and pixels:
            for tiles in torch.cat(list(pixels.values())).split(_TILES_AT_ONCE):
                rows += encode(tiles)
        for key, tiled in new.items():
            count, block_size = tiled.counts[0], None
            if tiled.block_sizes:  # 8B mode joins all tiles of a picture to one map
                own, block_size = encode(pixels[key], tiled.block_sizes), tiled.block_sizes[0]
            else:
                own, rows = rows[:count], rows[count:]
            yield key, EncodedPicture(count, block_size, tuple(own))

    def _splice(self, work: _Work, encoded: dict[tuple[str, bytes], EncodedPicture]) -> None:
        """Make the prompt of a request."""
        request = work.request
        started = time.perf_counter()
        images = [encoded[IMAGE, picture.digest] for picture in request.images]
        depths = [encoded[DEPTH, picture.digest] for picture in request.depths]
        text = without_placeholders(request.prompt)
        content = normalise_placeholders(IMAGE * len(images) + DEPTH * len(depths) + text)
        ids = self.processor.prompt_ids(
            self.processor.expand(content, _tiled(images), _tiled(depths))
        )
        media = {
            self._splice_ids["image_token_id"]: [rows for e in images for rows in e.rows],
            self._splice_ids["depth_token_id"]: [rows for e in depths for rows in e.rows],
        }
        work.embeds = self.network.splice(
            ids,
            *media.values(),
            **self._splice_ids,  # type: ignore[arg-type]
        )
        if len(work.embeds) >= self.processor.max_length:
            raise InstructionTooLongError(
                f"pictures and words take {len(work.embeds)} rows of the model's context, which "
                f"has {self.processor.max_length} with the answer; send fewer pictures or words"
            )
        work.ids = tuple(ids.tolist())
        # Each placeholder became the rows of its medium and a newline.
        lengths = {token: iter([len(rows) + 1 for rows in own]) for token, own in media.items()}
        sizes = [next(lengths[token]) if token in lengths else 1 for token in work.ids]
        work.ends = tuple(itertools.accumulate(sizes))
        places = [number for number, token in enumerate(work.ids) if token in media]
        work.media_count = places[-1] + 1 if places else 0
        work.timings_s["encode"] += time.perf_counter() - started

    # --- answers -----------------------------------------------------------------------------

    def _decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        tokenizer = self.processor.tokenizer
        text: str = tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def _completion(self, work: _Work, row: Row) -> Completion:
        skip = work.request.sampling.skip_special_tokens
        return Completion(
            text=self._decode(row.ids, skip),
            token_logprobs=tuple(row.logprobs),
            token_ends=tuple(
                len(self._decode(row.ids[: n + 1], skip)) for n in range(len(row.ids))
            ),
            digit_probabilities=tuple(map(tuple, row.tracked)),
            finish_reason=row.finish_reason,
            prompt_tokens=len(work.prompt),
            completion_tokens=len(row.ids),
            timings_s=work.timings_s,
        )


def _tiled(pictures: Sequence[EncodedPicture]) -> TiledPictures:
    """What ``expand`` wants to know about pictures that are encoded already."""
    blocks = [p.block_size for p in pictures if p.block_size is not None]
    return TiledPictures(tuple(p.tiles for p in pictures), None, blocks)


def _shared_count(group: Sequence[_Work]) -> int:
    """Tokens that the prompts of a group begin with; of a lone one those up to its pictures."""
    first = group[0].ids
    if len(group) == 1:
        return group[0].media_count
    return min(common_length(first, work.ids[:-1]) for work in group)
