# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batches and reused pictures give the answers of one query at a time."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from roborefer_ros.errors import (  # noqa: E402
    CanceledError,
    DeadlineExceededError,
    InstructionTooLongError,
    InvalidGoalError,
    ModelOutOfMemoryError,
    RoboReferError,
)
from roborefer_ros.models.roborefer.checkpoint import load_roborefer  # noqa: E402
from roborefer_ros.models.roborefer.decoding import generate  # noqa: E402
from roborefer_ros.pointing.echo import EchoPointer  # noqa: E402
from roborefer_ros.pointing.prompts import POINT_SUFFIX, roborefer_prompt  # noqa: E402
from roborefer_ros.server.engine import (  # noqa: E402
    EngineAnswer,
    PointerEngine,
    Query,
    numbered,
)
from roborefer_ros.server.pictures import Picture  # noqa: E402
from roborefer_ros.server.roborefer_engine import RoboReferEngine  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"


@pytest.fixture(scope="module", params=["tiny-2b-style", "tiny-8b-style"])
def checkpoint(request: pytest.FixtureRequest) -> Any:
    return load_roborefer(GOLDEN / request.param, "cpu", "float32")


@pytest.fixture
def engine(checkpoint: Any) -> RoboReferEngine:
    return RoboReferEngine("tiny", *checkpoint, max_batch=8)


def picture(seed: int, height: int, width: int, channels: int = 3) -> Picture:
    shape = (height, width, channels) if channels == 3 else (height, width)
    return Picture.of(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def run(engine: Any, queries: list[Query]) -> list[Any]:
    outcomes: dict[int, EngineAnswer | RoboReferError] = {}
    engine.answer(queries, lambda index, outcome: outcomes.setdefault(index, outcome))
    return [outcomes[index] for index in range(len(queries))]


QUERIES = [
    Query("Where is the mug?", (picture(1, 48, 64),), max_new_tokens=12),
    Query("Name it.", (picture(2, 80, 40),), (picture(3, 80, 40, 1),), max_new_tokens=7),
    Query("Just words, no picture.", max_new_tokens=20),
    Query("Compare them.", (picture(1, 48, 64), picture(4, 30, 90)), max_new_tokens=9),
    Query("the red mug", (picture(1, 48, 64),), is_instruction=True, max_new_tokens=12),
]


def alone(checkpoint: Any, query: Query) -> str:
    """The text as the model's own, unbatched decoding has it."""
    model, processor = checkpoint
    text = roborefer_prompt(query.text) if query.is_instruction else query.text
    inputs = processor(text, [p.pixels for p in query.images], [p.pixels for p in query.depths])
    with torch.inference_mode():
        images = depths = []
        if inputs.image_pixel_values is not None:
            images = model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes)
        if inputs.depth_pixel_values is not None:
            depths = model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes)
        embeds = model.splice(inputs.input_ids, images, depths, **processor.splice_ids)
        stop = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        generated = generate(
            model.llm, embeds, stop_ids=[stop], max_new_tokens=query.max_new_tokens
        )
    return str(processor.tokenizer.decode(generated.ids, skip_special_tokens=True)).strip()


def test_a_batch_answers_like_one_at_a_time(checkpoint: Any, engine: RoboReferEngine) -> None:
    expected = [alone(checkpoint, query) for query in QUERIES]
    assert len(set(expected)) > 2, "the test would not notice mixed-up rows"
    for _ in range(2):  # with new pictures, then with reused ones
        assert [outcome.text for outcome in run(engine, QUERIES)] == expected
    assert [run(engine, [query])[0].text for query in QUERIES] == expected
    assert (engine.cache.misses, engine.cache.hits) == (4, 2 + 6 + 6)


def test_prompts_are_read_once_up_to_their_words(checkpoint: Any, engine: RoboReferEngine) -> None:
    """Several questions about a picture, with others between them, then all again."""
    image, depth, other = picture(1, 48, 64), picture(3, 80, 40, 1), picture(5, 80, 40)
    questions = [
        Query("Where is the mug?", (image,), max_new_tokens=10),
        Query("What is left of it?", (image,), max_new_tokens=25),
        Query("Nothing to see.", max_new_tokens=15),
        Query("\n\nName it, please.", (other,), (depth,), max_new_tokens=5),
        Query("the red mug", (image,), is_instruction=True, max_new_tokens=12),
    ]
    expected = [alone(checkpoint, query) for query in questions]
    assert [outcome.text for outcome in run(engine, questions)] == expected
    assert (engine.prefixes.misses, engine.prefixes.hits) == (2, 0)
    assert [outcome.text for outcome in run(engine, questions[::-1])] == expected[::-1]
    assert [run(engine, [query])[0].text for query in questions] == expected
    assert engine.prefixes.misses == 2 and engine.prefixes.hits == 2 + 4
    without = RoboReferEngine("tiny", *checkpoint, prefix_bytes=0)
    assert [outcome.text for outcome in run(without, questions * 2)] == expected * 2
    assert without.prefixes.size_bytes == 0


def test_points_and_confidences_are_those_of_the_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled network, over the server's engine and in process; alone it guesses ahead."""
    from roborefer_ros.pointing.factory import open_pointer
    from roborefer_ros.pointing.roborefer import RoboReferPointer
    from roborefer_ros.simulation.held_out import held_out_scene

    pointer = open_pointer("roborefer:demo", device="cpu", dtype="float32", max_new_tokens=32)
    assert isinstance(pointer, RoboReferPointer)
    scene = held_out_scene(3, 320, 240, 3)
    rgb = Picture.of(scene.view.rgb)
    asked = [question.instruction for question in scene.questions]
    expected = [pointer.point(rgb.pixels, None, text) for text in asked]
    engine = RoboReferEngine("demo", pointer.model, pointer.processor)
    queries = [Query(text, (rgb,), is_instruction=True, max_new_tokens=32) for text in asked]
    passes = 0
    forward = pointer.model.llm.model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal passes
        passes += 1
        return forward(*args, **kwargs)

    together = run(engine, queries)
    monkeypatch.setattr(pointer.model.llm.model, "forward", counted)
    by_turns = [run(engine, [query])[0] for query in queries]
    assert passes < 0.75 * sum(outcome.tokens for outcome in by_turns)
    brief = Query("Point to a mug, a bowl or whatever is there.", (rgb,), max_new_tokens=3)
    left_alone = [run(engine, [brief, query])[1] for query in queries]  # and padded on its left
    for outcomes in (together, by_turns, left_alone):
        for outcome, answer in zip(outcomes, expected, strict=True):
            assert (outcome.text, outcome.points) == (answer.text, answer.points)
            assert outcome.confidences == pytest.approx(answer.confidences, abs=1e-3)
            assert 0.0 < min(outcome.confidences) < 1.0


def test_wrong_guesses_change_nothing(
    checkpoint: Any, engine: RoboReferEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft that is right for a while and then is not, differently each time."""
    _, processor = checkpoint
    for query in QUERIES:
        expected = alone(checkpoint, query)
        said: list[int] = []
        listened = processor.tokenizer.decode

        def listen(ids: Any, listened: Any = listened, said: list[int] = said, **more: Any) -> str:
            said[:] = ids if len(ids) > len(said) else said
            return str(listened(ids, **more))

        monkeypatch.setattr(processor.tokenizer, "decode", listen)
        run(engine, [query])
        monkeypatch.setattr(processor.tokenizer, "decode", listened)

        def draft(ids: Any, said: list[int] = said) -> list[int]:
            right = said[len(ids) : len(ids) + len(ids) % 4]
            return [*right, *([11, 12, 13][: len(ids) % 3])]

        monkeypatch.setattr(engine, "_draft", draft)
        assert run(engine, [query])[0].text == expected
        assert run(engine, [Query("Hm.", max_new_tokens=2), query])[1].text == expected


def test_samples_are_drawn_where_asked_for(checkpoint: Any, engine: RoboReferEngine) -> None:
    """Rows of a batch keep their own temperature and seed; greedy ones stay greedy."""
    image = picture(1, 48, 64)

    def query(temperature: float, seed: int | None) -> Query:
        return Query(
            QUERIES[0].text, (image,), max_new_tokens=12, temperature=temperature, seed=seed
        )

    batch = [query(1.5, 1), query(0.0, None), query(1.5, 2), query(1.5, 1), query(1.5, None)]
    texts = [outcome.text for outcome in run(engine, batch)]
    assert texts[1] == alone(checkpoint, QUERIES[0])
    assert texts[0] == texts[3] == run(engine, [query(1.5, 1)])[0].text
    assert len({texts[0], texts[1], texts[2], texts[4]}) == 4


def test_every_stop_token_ends_an_answer(
    checkpoint: Any, engine: RoboReferEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some checkpoints' tokenizers have an end of their own beside the template's."""
    _, processor = checkpoint
    said = run(engine, [QUERIES[0]])[0]
    ids = processor.tokenizer.encode(said.text, add_special_tokens=False)
    monkeypatch.setattr(type(processor), "stop_ids", (*processor.stop_ids, *ids))
    shorter = run(engine, [QUERIES[0]])[0]
    assert shorter.tokens < said.tokens and not shorter.cut_off


def test_an_answer_ends_with_the_context(
    checkpoint: Any, engine: RoboReferEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Query("Tell me " + "more, " * 20, max_new_tokens=30)
    _, processor = checkpoint
    rows = len(processor.prompt_ids(words.text))
    monkeypatch.setattr(type(processor), "max_length", rows + 4)
    outcome = run(engine, [words])[0]
    assert (outcome.tokens, outcome.cut_off) == (4, True)
    monkeypatch.setattr(type(processor), "max_length", rows)
    assert isinstance(run(engine, [words])[0], InstructionTooLongError)


def test_options_of_the_spec_reach_the_engine() -> None:
    from roborefer_ros.server.engine_factory import open_engine
    from roborefer_ros.server.options import parse_arguments

    tiny = f"roborefer:{GOLDEN / 'tiny-2b-style'}"
    engine = open_engine(parse_arguments(["--model", f"{tiny}?max_tokens=3&reuse=false"]))
    assert run(engine, [Query("Talk.", (picture(1, 48, 64),))])[0].tokens == 3
    assert engine.cache.size_bytes == engine.prefixes.size_bytes == 0
    engine = open_engine(parse_arguments(["--model", f"{tiny}?samples=2"]))
    assert isinstance(engine, PointerEngine)


def test_the_first_query_about_a_picture_is_read_in_one_piece(engine: RoboReferEngine) -> None:
    run(engine, [QUERIES[0], QUERIES[1]])
    assert engine.prefixes.size_bytes == 0
    run(engine, [QUERIES[0]])
    assert engine.prefixes.size_bytes > 0


def test_tokens_are_counted_and_cut_off(engine: RoboReferEngine) -> None:
    outcome = run(engine, [QUERIES[0]])[0]
    assert outcome.tokens <= 12
    assert outcome.cut_off == (outcome.tokens == 12)
    assert set(outcome.timings_s) == {"encode", "prefill", "decode"}


def test_cancelled_rows_leave_the_others_alone(checkpoint: Any, engine: RoboReferEngine) -> None:
    cancel = threading.Event()
    seen: list[str] = []

    def on_text(text: str) -> None:
        seen.append(text)
        if len(seen) == 3:
            cancel.set()

    doomed = Query(
        "Stop!", (picture(9, 40, 40),), max_new_tokens=200, cancel=cancel, on_text=on_text
    )
    late = Query("Too late.", (picture(9, 40, 40),), deadline=time.monotonic() - 1.0)
    outcomes = run(engine, [QUERIES[0], doomed, late, QUERIES[3]])
    assert isinstance(outcomes[1], CanceledError)
    assert len(seen) == 3, "it was to stop at the next token"
    assert isinstance(outcomes[2], DeadlineExceededError)
    assert outcomes[0].text == alone(checkpoint, QUERIES[0])
    assert outcomes[3].text == alone(checkpoint, QUERIES[3])


def test_bad_queries_fail_alone(checkpoint: Any, engine: RoboReferEngine) -> None:
    bad = Query("the mug", (), is_instruction=True)
    outcomes = run(engine, [bad, QUERIES[2]])
    assert isinstance(outcomes[0], InvalidGoalError)
    assert outcomes[1].text == alone(checkpoint, QUERIES[2])


def test_what_does_not_fit_together_is_answered_alone(
    checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's own layer runs out of memory for batches, as a GPU would."""
    model, processor = checkpoint
    engine = RoboReferEngine("tiny", model, processor)
    forward = model.llm.model.forward

    def scarce(*args: Any, **kwargs: Any) -> Any:
        if len(kwargs["inputs_embeds"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.llm.model, "forward", scarce)
    outcomes = run(engine, QUERIES)
    assert [outcome.text for outcome in outcomes] == [alone(checkpoint, q) for q in QUERIES]


def test_cache_keeps_to_its_size(checkpoint: Any) -> None:
    rows = run_one_size(checkpoint)
    engine = RoboReferEngine("tiny", *checkpoint, cache_bytes=2 * rows)
    for seed in (1, 2, 1, 3, 1, 2):
        run(engine, [Query("?", (picture(seed, 48, 64),), max_new_tokens=1)])
    assert engine.cache.size_bytes <= 2 * rows
    assert (engine.cache.hits, engine.cache.misses) == (2, 4)  # 2 was used longest ago


def run_one_size(checkpoint: Any) -> int:
    engine = RoboReferEngine("tiny", *checkpoint)
    run(engine, [Query("?", (picture(1, 48, 64),), max_new_tokens=1)])
    return engine.cache.size_bytes


# --- any pointer -----------------------------------------------------------------------


def test_any_pointer_answers_one_by_one() -> None:
    engine = PointerEngine(EchoPointer())
    image = picture(1, 10, 10)
    outcomes = run(
        engine,
        [
            Query("[(0.1, 0.2)]", (image,), is_instruction=True),
            Query("nothing here", (image,), is_instruction=True),
            Query("[(0.1, 0.2)]", (image, image)),
        ],
    )
    assert outcomes[0].points == ((0.1, 0.2),)
    assert outcomes[1].points == () and outcomes[1].no_point.code == 2544
    assert isinstance(outcomes[2], InvalidGoalError)


class Listens(EchoPointer):
    """Notes what it is asked, and whether as it is."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def point(
        self, rgb: Any, relative_depth: Any, instruction: str, *args: Any, **more: Any
    ) -> Any:
        self.asked.append((instruction, more["verbatim"]))
        return super().point(rgb, relative_depth, instruction, *args, **more)


def test_texts_reach_any_pointer_as_they_were_written() -> None:
    texts = ["What  colour is\nthe mug? (0.1, 0.2)", f"Point to it. (0.1, 0.2) {POINT_SUFFIX}"]
    pointer, image = Listens(), picture(1, 10, 10)
    queries = [Query(text, (image,)) for text in texts]
    run(PointerEngine(pointer), [*queries, Query("(0.1, 0.2)", (image,), is_instruction=True)])
    assert pointer.asked == [(texts[0], True), (texts[1], True), ("(0.1, 0.2)", False)]


def test_prompts_are_counted(checkpoint: Any) -> None:
    engine = RoboReferEngine("tiny", *checkpoint)
    image = picture(1, 48, 64)
    short, long = run(
        engine,
        [Query(text, (image,), max_new_tokens=3) for text in ("?", "? and what is beside it")],
    )
    bare = run(engine, [Query("?", (), max_new_tokens=3)])[0]
    assert long.prompt_tokens > short.prompt_tokens > bare.prompt_tokens > 0
    assert short.tokens <= 3 and short.cut_off == (short.tokens == 3)


def test_memory_errors_are_numbered() -> None:
    real = None
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        real = error
    assert real is not None
    for error in (real, MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        assert isinstance(numbered(error), ModelOutOfMemoryError)
    assert numbered(ValueError("secret")).code == 2543
    assert "secret" not in str(numbered(ValueError("secret")))
