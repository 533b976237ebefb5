# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batches and reused pictures give the answers of one query at a time."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from roborefer_ros.cancellation import Cancellation  # noqa: E402
from roborefer_ros.errors import (  # noqa: E402
    CanceledError,
    DeadlineExceededError,
    InstructionTooLongError,
    InvalidGoalError,
    ModelFailedError,
    ModelOutOfMemoryError,
)
from roborefer_ros.inference.caches import LRUCache  # noqa: E402
from roborefer_ros.inference.decoding import generate  # noqa: E402
from roborefer_ros.inference.device import numbered  # noqa: E402
from roborefer_ros.inference.fixed_shapes import WORDS  # noqa: E402
from roborefer_ros.inference.model import (  # noqa: E402
    Completion,
    Outcome,
    Picture,
    Request,
    SamplingParams,
    complete_all,
)
from roborefer_ros.inference.roborefer import RoboReferModel  # noqa: E402
from roborefer_ros.models.roborefer.checkpoint import load_roborefer  # noqa: E402
from roborefer_ros.pointing.prompts import roborefer_prompt  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"


@pytest.fixture(scope="module", params=["tiny-2b-style", "tiny-8b-style"])
def checkpoint(request: pytest.FixtureRequest) -> Any:
    return load_roborefer(GOLDEN / request.param, "cpu", "float32")


@pytest.fixture
def model(checkpoint: Any) -> RoboReferModel:
    return RoboReferModel("tiny", *checkpoint, max_batch=8)


def picture(seed: int, height: int, width: int, channels: int = 3) -> Picture:
    shape = (height, width, channels) if channels == 3 else (height, width)
    return Picture.of(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def request(
    text: str,
    images: Sequence[Picture] = (),
    depths: Sequence[Picture] = (),
    max_tokens: int = 512,
    temperature: float = 0.0,
    seed: int | None = None,
    **more: Any,
) -> Request:
    sampling = SamplingParams(max_tokens, temperature, seed)
    return Request(text, tuple(images), tuple(depths), sampling, **more)


def run(model: RoboReferModel, requests: Sequence[Request]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    for index, outcome in model.complete(requests):
        assert index not in outcomes, "each request has one outcome"
        outcomes[index] = outcome
    return [outcomes[index] for index in range(len(requests))]


def texts_of(model: RoboReferModel, requests: Sequence[Request]) -> list[str]:
    return [completed(outcome).text.strip() for outcome in run(model, requests)]


def completed(outcome: Outcome) -> Completion:
    assert isinstance(outcome, Completion), outcome
    return outcome


REQUESTS = [
    request("Where is the mug?", [picture(1, 48, 64)], max_tokens=12),
    request("Name it.", [picture(2, 80, 40)], [picture(3, 80, 40, 1)], max_tokens=7),
    request("Just words, no picture.", max_tokens=20),
    request("Compare them.", [picture(1, 48, 64), picture(4, 30, 90)], max_tokens=9),
    request(roborefer_prompt("the red mug"), [picture(1, 48, 64)], max_tokens=12),
]


def alone(checkpoint: Any, query: Request) -> str:
    """The text as the model's own, unbatched decoding has it."""
    model, processor = checkpoint
    inputs = processor(
        query.prompt, [p.pixels for p in query.images], [p.pixels for p in query.depths]
    )
    with torch.inference_mode():
        images = depths = []
        if inputs.image_pixel_values is not None:
            images = model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes)
        if inputs.depth_pixel_values is not None:
            depths = model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes)
        embeds = model.splice(inputs.input_ids, images, depths, **processor.splice_ids)
        stop = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        generated = generate(
            model.llm, embeds, stop_ids=[stop], max_new_tokens=query.sampling.max_tokens or 512
        )
    return str(processor.tokenizer.decode(generated.ids, skip_special_tokens=True)).strip()


def test_a_batch_answers_like_one_at_a_time(checkpoint: Any, model: RoboReferModel) -> None:
    expected = [alone(checkpoint, query) for query in REQUESTS]
    assert len(set(expected)) > 2, "the test would not notice mixed-up rows"
    for _ in range(2):  # with new pictures, then with reused ones
        assert texts_of(model, REQUESTS) == expected
    assert [texts_of(model, [query])[0] for query in REQUESTS] == expected
    # Equal pictures of one batch are looked up once.
    assert (model.vision.misses, model.vision.hits) == (4, 4 + 6)


@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_prompts_are_read_once_up_to_their_words(checkpoint: Any, fixed_shapes: bool) -> None:
    """Several questions about a picture, with others between them, then all again."""
    model = RoboReferModel("tiny", *checkpoint, fixed_shapes=fixed_shapes)
    image, depth, other = picture(1, 48, 64), picture(3, 80, 40, 1), picture(5, 80, 40)
    questions = [
        request("Where is the mug?", [image], max_tokens=10),
        request("What is left of it?", [image], max_tokens=25),
        request("Nothing to see.", max_tokens=15),
        request("\n\nName it, please.", [other], [depth], max_tokens=5),
        request(roborefer_prompt("the red mug"), [image], max_tokens=12),
    ]
    expected = [alone(checkpoint, query) for query in questions]
    assert texts_of(model, questions) == expected
    assert (model.prefixes.misses, model.prefixes.hits) == (2, 0)
    assert texts_of(model, questions[::-1]) == expected[::-1]
    assert [texts_of(model, [query])[0] for query in questions] == expected
    assert model.prefixes.misses == 2
    assert model.prefixes.hits == 2 + 4
    without = RoboReferModel("tiny", *checkpoint, prefixes=LRUCache(0))
    assert texts_of(without, questions * 2) == expected * 2
    assert without.prefixes.size_bytes == 0


def rows_read(model: RoboReferModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of the padded batches that the language model reads, pass by pass."""
    rows: list[int] = []
    forward = model.network.llm.model.forward

    @functools.wraps(forward)
    def counted(*args: Any, **kwargs: Any) -> Any:
        rows.append(kwargs["inputs_embeds"].shape[0] * kwargs["inputs_embeds"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.network.llm.model, "forward", counted)
    return rows


def test_the_second_question_reads_its_words_alone(
    checkpoint: Any, model: RoboReferModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first pass has read is kept; nothing is read a second time to be kept."""
    image = picture(1, 48, 64)
    rows = rows_read(model, monkeypatch)
    first, second = (request(text, [image], max_tokens=1) for text in ("A mug?", "A bowl, then?"))
    whole = completed(run(model, [first])[0]).prompt_tokens
    drafted = rows.pop() - whole
    assert not rows
    own = completed(run(model, [second])[0]).prompt_tokens
    words = len(checkpoint[1].tokenizer.encode("A bowl, then?", add_special_tokens=False))
    assert rows.pop() - drafted < words + 20 < own


def test_samples_of_one_question_share_its_prompt(
    model: RoboReferModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_read(model, monkeypatch)
    image = picture(1, 48, 64)
    batch = [request("A mug?", [image], max_tokens=1, temperature=0.7, seed=n) for n in range(4)]
    prompt = completed(run(model, batch)[0]).prompt_tokens
    assert rows[0] == prompt - 1
    assert sum(rows) < prompt + 4 * 10


def test_a_lone_answer_decodes_in_the_memory_of_its_prompt(model: RoboReferModel) -> None:
    """Asking again about the same pictures allocates no further keys and values."""
    query = request("A mug?", [picture(1, 48, 64)], max_tokens=5)
    key = (("<image>", query.images[0].digest),)
    run(model, [query])
    kept = model.prefixes.get(key)
    assert kept is not None
    memory = kept.cache.layers[0][0].data_ptr()
    run(model, [request("And the bowl?", query.images, max_tokens=5)])
    again = model.prefixes.get(key)
    assert again is not None
    assert again.cache.layers[0][0].data_ptr() == memory


def test_wrong_guesses_change_nothing(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft that is right for a while and then is not, alone and in a batch."""
    _, processor = checkpoint
    model = RoboReferModel("tiny", *checkpoint)
    for query in REQUESTS:
        expected = alone(checkpoint, query)
        said: list[int] = []
        decode = processor.tokenizer.decode

        def listen(ids: Any, decode: Any = decode, said: list[int] = said, **more: Any) -> str:
            said[:] = ids if len(ids) > len(said) else said
            return str(decode(ids, **more))

        monkeypatch.setattr(processor.tokenizer, "decode", listen)
        run(model, [query])
        monkeypatch.setattr(processor.tokenizer, "decode", decode)

        def draft(ids: Any, said: list[int] = said) -> list[int]:
            right = said[len(ids) : len(ids) + len(ids) % 4]
            return [*right, *([11, 12, 13][: len(ids) % 3])]

        monkeypatch.setattr(model, "draft", draft)
        assert texts_of(model, [query]) == [expected]
        assert texts_of(model, [request("Hm.", max_tokens=2), query])[1] == expected


def test_samples_are_drawn_where_asked_for(checkpoint: Any, model: RoboReferModel) -> None:
    """Rows of a batch keep their own temperature and seed; greedy ones stay greedy."""

    def query(temperature: float, seed: int | None) -> Request:
        first = REQUESTS[0]
        return request(first.prompt, first.images, (), 12, temperature, seed)

    batch = [query(1.5, 1), query(0.0, None), query(1.5, 2), query(1.5, 1), query(1.5, None)]
    texts = texts_of(model, batch)
    assert texts[1] == alone(checkpoint, REQUESTS[0])
    assert texts[0] == texts[3] == texts_of(model, [query(1.5, 1)])[0]
    assert len({texts[0], texts[1], texts[2], texts[4]}) == 4


def test_every_stop_token_ends_an_answer(
    checkpoint: Any, model: RoboReferModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some checkpoints' tokenizers have an end of their own beside the template's."""
    _, processor = checkpoint
    said = completed(run(model, [REQUESTS[0]])[0])
    ids = processor.tokenizer.encode(said.text.strip(), add_special_tokens=False)
    monkeypatch.setattr(type(processor), "stop_ids", (*processor.stop_ids, *ids))
    shorter = completed(run(model, [REQUESTS[0]])[0])
    assert shorter.completion_tokens < said.completion_tokens
    assert shorter.finish_reason == "stop"


def test_an_answer_ends_with_the_context(
    checkpoint: Any, model: RoboReferModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = request("Tell me " + "more, " * 20, max_tokens=30)
    _, processor = checkpoint
    rows = len(processor.prompt_ids(words.prompt))
    monkeypatch.setattr(type(processor), "max_length", rows + 4)
    outcome = completed(run(model, [words])[0])
    assert (outcome.completion_tokens, outcome.finish_reason) == (4, "length")
    monkeypatch.setattr(type(processor), "max_length", rows)
    assert isinstance(run(model, [words])[0], InstructionTooLongError)


def test_tokens_are_counted_and_cut_off(model: RoboReferModel) -> None:
    outcome = completed(run(model, [REQUESTS[0]])[0])
    count = outcome.completion_tokens
    assert count == len(outcome.token_logprobs) == len(outcome.token_ends) <= 12
    assert [len(row) for row in outcome.digit_probabilities] == [10] * count
    assert outcome.finish_reason == ("length" if count == 12 else "stop")
    assert set(outcome.timings_s) == {"preprocess", "encode", "prefill", "decode"}


def test_cancelled_rows_leave_the_others_alone(checkpoint: Any, model: RoboReferModel) -> None:
    cancel = threading.Event()
    seen: list[str] = []

    def on_text(text: str) -> None:
        seen.append(text)
        if len(seen) == 3:
            cancel.set()

    image = picture(9, 40, 40)
    doomed = request(
        *("Stop!", [image]),
        max_tokens=200,
        cancellation=Cancellation(None, cancel.is_set, "gone"),
        on_text=on_text,
    )
    past = Cancellation(deadline=time.monotonic() - 1.0)
    late = request("Too late.", [image], cancellation=past)
    outcomes = run(model, [REQUESTS[0], doomed, late, REQUESTS[3]])
    assert isinstance(outcomes[1], CanceledError)
    assert str(outcomes[1]) == "gone"
    assert len(seen) == 3, "it was to stop at the next token"
    assert isinstance(outcomes[2], DeadlineExceededError)
    assert completed(outcomes[0]).text.strip() == alone(checkpoint, REQUESTS[0])
    assert completed(outcomes[3]).text.strip() == alone(checkpoint, REQUESTS[3])


def test_bad_requests_fail_alone(checkpoint: Any, model: RoboReferModel) -> None:
    wrong = Picture(np.zeros((4, 4, 2), np.uint8), b"two channels")
    bad = request("the mug", [wrong])
    outcomes = run(model, [bad, REQUESTS[2]])
    assert isinstance(outcomes[0], ModelFailedError)
    assert completed(outcomes[1]).text.strip() == alone(checkpoint, REQUESTS[2])


def test_depth_is_refused_where_it_is_not_used(checkpoint: Any) -> None:
    model = RoboReferModel("tiny", *checkpoint, use_depth=False)
    assert not model.uses_depth
    assert isinstance(run(model, [REQUESTS[1]])[0], InvalidGoalError)


def test_what_does_not_fit_together_is_answered_alone(
    checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's own layer runs out of memory for batches, as a GPU would."""
    network, processor = checkpoint
    model = RoboReferModel("tiny", network, processor)
    forward = network.llm.model.forward

    @functools.wraps(forward)
    def scarce(*args: Any, **kwargs: Any) -> Any:
        if len(kwargs["inputs_embeds"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*args, **kwargs)

    monkeypatch.setattr(network.llm.model, "forward", scarce)
    assert texts_of(model, REQUESTS) == [alone(checkpoint, q) for q in REQUESTS]


def test_a_failure_is_the_outcome_of_all_and_leaves_nothing(
    model: RoboReferModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(model, REQUESTS)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no kernel")

    with monkeypatch.context() as patch:
        patch.setattr(model.network.llm.model, "forward", broken)
        outcomes = run(model, REQUESTS)
    assert all(isinstance(o, ModelFailedError) and "no kernel" in str(o) for o in outcomes)
    assert model.vision.size_bytes == model.prefixes.size_bytes == 0


def test_cache_keeps_to_its_size(checkpoint: Any) -> None:
    rows = size_of_one(checkpoint)
    model = RoboReferModel("tiny", *checkpoint, vision=LRUCache(2 * rows))
    for seed in (1, 2, 1, 3, 1, 2):
        run(model, [request("?", [picture(seed, 48, 64)], max_tokens=1)])
    assert model.vision.size_bytes <= 2 * rows
    assert (model.vision.hits, model.vision.misses) == (2, 4)  # 2 was used longest ago


def size_of_one(checkpoint: Any) -> int:
    model = RoboReferModel("tiny", *checkpoint)
    run(model, [request("?", [picture(1, 48, 64)], max_tokens=1)])
    return model.vision.size_bytes


def test_a_cache_of_the_last_picture_frees_it_before_the_next(checkpoint: Any) -> None:
    """Where the number is limited, old and new are never held together."""
    model = RoboReferModel("tiny", *checkpoint, vision=LRUCache(capacity=1))
    held: list[int] = []
    encode = model.network.encode_images

    class Watched(type(model.network)):  # type: ignore[misc]
        def encode_images(self, *args: Any) -> Any:
            held.append(len(model.vision))
            return encode(*args)

    model.network.__class__ = Watched
    try:
        for seed in (1, 2, 3):
            run(model, [request("?", [picture(seed, 48, 64)], max_tokens=1)])
    finally:
        model.network.__class__ = Watched.__base__
    assert held == [0, 0, 0]
    assert len(model.vision) == 1


def test_a_model_is_asked_in_batches_that_it_takes(checkpoint: Any) -> None:
    model = RoboReferModel("tiny", *checkpoint, max_batch=2)
    texts = [completed(outcome).text.strip() for outcome in complete_all(model, REQUESTS)]
    assert texts == [alone(checkpoint, query) for query in REQUESTS]


def test_memory_errors_are_numbered() -> None:
    real = None
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        real = error
    assert real is not None
    for error in (real, MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        assert isinstance(numbered(error, "buy more"), ModelOutOfMemoryError)
    assert numbered(ValueError("odd"), "").code == 2543


@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_warming_up_leaves_nothing_behind(checkpoint: Any, fixed_shapes: bool) -> None:
    model = RoboReferModel("tiny", *checkpoint, fixed_shapes=fixed_shapes)
    model.warm_up(60, 40)
    assert len(model.vision) == len(model.prefixes) == 0
    assert (model.vision.hits, model.vision.misses) == (0, 0)


def test_tiles_of_a_gpu_lead_to_the_same_answer(
    checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way that a GPU takes, on a CPU."""
    plain, other = (RoboReferModel("tiny", *checkpoint) for _ in range(2))
    device = plain.network.device
    monkeypatch.setattr(other, "_cut", lambda p: other.processor.tile_on(p.pixels, device))
    asked = [request("Point to the mug.", [picture(3, 40, 60)])]
    assert texts_of(other, asked) == texts_of(plain, asked)


def test_words_about_a_known_picture_are_read_in_one_shape(checkpoint: Any) -> None:
    """Further questions of any length: one graph for their words, one for their tokens."""
    fixed = RoboReferModel("fixed", *checkpoint, fixed_shapes=True)
    plain = RoboReferModel("plain", *checkpoint)
    image = picture(7, 40, 60)
    texts = ["Point to the mug.", "Point to it.", "Point to the mug left of the red box."]
    asked = [request(text, [image], max_tokens=9) for text in texts]
    wanted = [texts_of(plain, [one])[0] for one in asked]
    assert texts_of(fixed, asked[:1]) == wanted[:1]
    shapes: set[tuple[int, ...]] = set()

    def watch(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        shapes.add(
            (*kwargs["inputs_embeds"].shape, *kwargs["attention_mask"]["full_attention"].shape)
        )

    hook = fixed.network.llm.model.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        assert [texts_of(fixed, [one])[0] for one in asked] == wanted
    finally:
        hook.remove()
    assert len(shapes) == 2
    assert max(shape[1] for shape in shapes) == WORDS
