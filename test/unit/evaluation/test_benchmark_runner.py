# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs: the lines that are written, going on after an interruption, failures, several workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import invented
import numpy as np
import pytest

from roborefer_ros.cli import evaluate
from roborefer_ros.cli.evaluate import main, model_options
from roborefer_ros.cli.score import main as score_main
from roborefer_ros.errors import BackendUnreachableError, ModelOutOfMemoryError
from roborefer_ros.evaluation.answers_file import KEYS, AnswersFile
from roborefer_ros.evaluation.depth_sources import no_depth, predicted_depth
from roborefer_ros.evaluation.questions import Benchmark, BenchmarkError
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.evaluation.runner import RunReport, output_name, run
from roborefer_ros.inference.model import Completion, Outcome, Request, side_by_side
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prompts import POINT_SUFFIX

HIT = "[(0.600, 0.400)]"


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return open_benchmark(invented.refspatial(tmp_path / "bench", {"Location": 6, "Placement": 4}))


def go(benchmark: Benchmark, out: Path, model: Any, **more: Any) -> RunReport:
    more.setdefault("model_id", "RoboRefer-test")
    family = more.pop("family", FAMILIES["tuples"])
    pointer = Pointer(model, family)
    return run(pointer, benchmark, out, family=family, show_progress=False, **more)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_those_of_the_reference(benchmark: Benchmark, tmp_path: Path) -> None:
    pointer = invented.ScriptedModel([HIT, "no point here", "[(7.0, 3.0)]"])
    report = go(benchmark, tmp_path / "out", pointer)
    assert (report.asked, report.kept, report.failures) == (10, 0, [])
    written = lines(tmp_path / "out/Location.jsonl")
    assert [record["question_id"] for record in written] == list(range(6))
    assert all(tuple(record) == KEYS for record in written)
    assert written[1] == {
        "question_id": 1,
        "prompt": "Please point out thing 1.",
        "object_name": "thing 1",
        "suffix": POINT_SUFFIX,
        "instruction": f"Please point out thing 1. {POINT_SUFFIX}",
        "text": "no point here",
        "model_id": "RoboRefer-test",
        "rgb_path": "image/1.png",
        "mask_path": "mask/1.png",
        "category": "location",
        "step": 2,
    }
    assert written[2]["text"] == "[(7.0, 3.0)]"
    assert pointer.asked[0] == f"Please point out thing 0. {POINT_SUFFIX}"


#: as the reference's test_benchmark.py asks, by the model's name
ASKED = {
    "RoboRefer-2B-SFT": f"Please point out thing 0. {POINT_SUFFIX}",
    "Molmo-7B-D": "Locate several points of thing 0.",
    "RoboBrain2.0-7B": "Please point out thing 0. Please provide its 2D coordinates.",
    "Gemini25Pro": "Locate one point of thing 0.",
    "Qwen2.5-VL": "Locate thing 0 in this image and output the point coordinates in JSON format.",
    "GPT4O": f"Please point out thing 0. {POINT_SUFFIX}",
}


class ChatServer(BaseHTTPRequestHandler):
    """Remembers the texts that it is asked, and always says the same."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/query"):
            self.asked.append(body["text"])
            reply = json.dumps({"result": 1, "answer": HIT})
        else:
            content = body["messages"][0]["content"]
            self.asked += [part["text"] for part in content if part["type"] == "text"]
            chunk = {"choices": [{"index": 0, "delta": {"content": "Yes, there."}}]}
            reply = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        self.send_response(200)
        is_stream = reply.startswith("data:")
        self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
        self.send_header("Content-Length", str(len(reply.encode())))
        self.end_headers()
        self.wfile.write(reply.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    ChatServer.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), ChatServer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"//127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("name", ASKED)
def test_families_are_asked_as_the_reference_asks_them(
    tmp_path: Path, server: str, name: str
) -> None:
    pytest.importorskip("httpx")
    folder = invented.refspatial(tmp_path / "b", {"Location": 1})
    ask = ["--data", str(folder), "--out", str(tmp_path / "out"), "--no-report", "--json"]
    assert main(["--model", f"openai:{server}/v1?model={name}", *ask]) == 0
    assert ChatServer.asked == [ASKED[name]]
    assert lines(tmp_path / "out/Location.jsonl")[0]["instruction"] == ASKED[name]


def test_half_a_surrogate_pair_is_an_answer(benchmark: Benchmark, tmp_path: Path) -> None:
    """JSON of a server can say it, UTF-8 cannot; lines and page are written all the same."""
    pytest.importorskip("jinja2")
    text = f"\ud83d é {HIT}"
    out = tmp_path / "out"
    go(benchmark, out, invented.ScriptedModel([text, "\udfff nowhere"]))
    assert (out / "Location.jsonl").read_bytes().isascii()
    assert lines(out / "Location.jsonl")[0]["text"] == text
    page = tmp_path / "page.html"
    assert score_main([str(out), "--data", str(benchmark.source), "--report", str(page)]) == 0
    assert "? nowhere" in page.read_text(encoding="utf-8")


def test_interrupted_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = invented.refspatial(tmp_path / "b", {"Location": 3})
    pointer = invented.ScriptedModel([HIT, KeyboardInterrupt()])
    monkeypatch.setattr(
        "roborefer_ros.cli.evaluate.open_pointer",
        lambda *_, **__: Pointer(pointer, FAMILIES["tuples"]),
    )
    command = ["--model", "echo:", "--data", str(folder), "--out", str(tmp_path / "out")]
    assert main([*command, "--no-report"]) == 130
    assert "the same command again goes on" in capsys.readouterr().err
    pointer.texts = [HIT]
    assert main([*command, "--no-report"]) == 0
    assert "2 asked" in capsys.readouterr().err


def test_the_nodes_words_can_be_had_too(tmp_path: Path, server: str) -> None:
    pytest.importorskip("httpx")
    folder = invented.refspatial(tmp_path / "b", {"Location": 1})
    ask = ["--data", str(folder), "--out", str(tmp_path / "out"), "--no-report", "--json"]
    spec = f"openai:{server}/v1?model=Qwen3-VL"
    assert main(["--model", spec, "--prompts", "family", *ask]) == 0
    assert ChatServer.asked == [FAMILIES["qwen3-vl"].prompt("Please point out thing 0.")]
    # One folder holds answers to one way of asking.
    assert main(["--model", spec, *ask]) == 1


def test_the_benchmarks_own_suffix_is_asked(tmp_path: Path, server: str) -> None:
    pytest.importorskip("httpx")
    folder = invented.refspatial(tmp_path / "b", {"Location": 1})
    table = folder / "Location/question.json"
    rows = json.loads(table.read_text())
    rows[0] |= {"prompt": "Where {is} it? ", "suffix": "Say it\nin {pixels}."}
    table.write_text(json.dumps(rows))
    ask = ["--data", str(folder), "--out", str(tmp_path / "out"), "--no-report", "--json"]
    assert main(["--model", f"roborefer-http:{server}", *ask]) == 0
    assert ChatServer.asked == ["Where {is} it?  Say it\nin {pixels}."]


def test_servers_are_asked_for_words_too(tmp_path: Path, server: str) -> None:
    pytest.importorskip("httpx")
    home = invented.robospatial(tmp_path / "home")
    ask = ["--data", str(home), "--out", str(tmp_path / "out"), "--no-report", "--json"]
    assert main(["--model", f"openai:{server}/v1?model=RoboRefer", *ask]) == 0
    assert lines(tmp_path / "out/Configuration.jsonl")[0]["text"] == "Yes, there."


def test_it_goes_on_after_an_interruption(benchmark: Benchmark, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped = invented.ScriptedModel([HIT] * 8 + [KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        go(benchmark, out, stopped)
    # As a crash in the middle of a line would leave it.
    file = out / "Placement.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    rest = invented.ScriptedModel([HIT])
    report = go(benchmark, out, rest)
    assert (report.kept, report.asked) == (7, 3)
    assert [r["question_id"] for r in lines(file)] == [0, 1, 2, 3]
    assert go(benchmark, out, rest).asked == 0


def test_failures_are_asked_again(benchmark: Benchmark, tmp_path: Path) -> None:
    gone = BackendUnreachableError("the server is gone")
    pointer = invented.ScriptedModel([HIT, gone, HIT, HIT, gone])
    report = go(benchmark, tmp_path / "out", pointer)
    assert len(report.failures) == 4
    assert "Location/1: the server is gone" in report.failures
    report = go(benchmark, tmp_path / "out", invented.ScriptedModel([HIT]))
    assert (report.kept, report.asked, report.failures) == (6, 4, [])


def test_failures_in_a_row_end_the_run(benchmark: Benchmark, tmp_path: Path) -> None:
    pointer = invented.ScriptedModel([ModelOutOfMemoryError("the GPU is full")])
    with pytest.raises(ModelOutOfMemoryError):
        go(benchmark, tmp_path / "out", pointer)
    assert len(pointer.asked) == 5
    assert (tmp_path / "out/Location.jsonl").read_bytes() == b""


def test_a_folder_belongs_to_one_model(benchmark: Benchmark, tmp_path: Path) -> None:
    go(benchmark, tmp_path / "out", invented.ScriptedModel([HIT]))
    with pytest.raises(BenchmarkError, match="answers of model_id 'RoboRefer-test'"):
        go(benchmark, tmp_path / "out", invented.ScriptedModel([HIT]), model_id="another")


def test_a_folder_keeps_to_one_way_of_asking(benchmark: Benchmark, tmp_path: Path) -> None:
    pointer = invented.ScriptedModel([HIT])
    go(benchmark, tmp_path / "out", pointer, settings={"depth": "none"})
    go(benchmark, tmp_path / "out", pointer, settings={"depth": "none"})
    with pytest.raises(BenchmarkError, match="answers of depth 'none', not 'model'"):
        go(benchmark, tmp_path / "out", pointer, settings={"depth": "model"})
    (tmp_path / "out/run.json").write_text("[")
    with pytest.raises(BenchmarkError, match="is broken"):
        go(benchmark, tmp_path / "out", pointer, settings={"depth": "none"})


def test_two_runs_do_not_write_into_one_file(benchmark: Benchmark, tmp_path: Path) -> None:
    with (
        AnswersFile(tmp_path / "out/Location.jsonl"),
        pytest.raises(BenchmarkError, match="another run"),
    ):
        go(benchmark, tmp_path / "out", invented.ScriptedModel([HIT]))


def test_a_broken_line_in_the_middle_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "Location.jsonl"
    path.write_text('{"question_id": 0}\n{"quest\n{"question_id": 2}\n')
    before = path.read_bytes()
    with pytest.raises(BenchmarkError, match="line 2"):
        AnswersFile(path)
    assert path.read_bytes() == before


def test_limit(benchmark: Benchmark, tmp_path: Path) -> None:
    assert go(benchmark, tmp_path / "out", invented.ScriptedModel([HIT]), limit=2).asked == 4


def test_any_model_is_asked_for_words_as_they_are_written(tmp_path: Path) -> None:
    home = open_benchmark(invented.robospatial(tmp_path / "home"))
    model = invented.ScriptedModel([HIT])
    assert go(home, tmp_path / "out", model).asked == 4
    instructions = [r["instruction"] for p in (tmp_path / "out").glob("*.jsonl") for r in lines(p)]
    assert sorted(model.asked) == sorted(instructions)


def test_depth_is_only_made_for_models_that_use_it(benchmark: Benchmark, tmp_path: Path) -> None:
    calls = []

    def depth(question: Any, rgb: np.ndarray) -> np.ndarray:
        calls.append(rgb.shape)
        return np.zeros(rgb.shape[:2], np.uint8)

    blind = invented.ScriptedModel([HIT])
    go(benchmark, tmp_path / "a", blind, depth=depth)
    assert not calls
    seeing = invented.ScriptedModel([HIT], uses_depth=True)
    go(benchmark, tmp_path / "b", seeing, depth=depth)
    assert len(calls) == 10
    assert all(d is not None for d in seeing.depths)


class MeetingModel:
    """Answers only once all of its workers have a request at the same time."""

    name, uses_depth, can_sample, max_batch = "meeting", False, False, 5

    def __init__(self) -> None:
        self._all_here = threading.Barrier(self.max_batch, timeout=60.0)

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        return side_by_side(requests, self._one, self.name, self.max_batch)

    def _one(self, request: Request) -> Completion:
        self._all_here.wait()
        return Completion(f"{HIT} {request.prompt}")

    def close(self) -> None:
        pass


def test_several_workers_share_the_questions(benchmark: Benchmark, tmp_path: Path) -> None:
    report = go(benchmark, tmp_path / "out", MeetingModel())
    assert (report.asked, report.failures) == (10, [])
    written = lines(tmp_path / "out/Location.jsonl")
    assert [record["question_id"] for record in written] == list(range(6))
    assert all(record["text"] == f"{HIT} {record['instruction']}" for record in written)


def test_output_name() -> None:
    assert output_name("roborefer:/data/RoboRefer-2B") == "roborefer_data_RoboRefer-2B"
    assert output_name("openai://host/v1?model=a") != output_name("openai://host/v1?model=b")
    assert output_name("::") == "model"
    assert "/" not in output_name("../../etc")


def test_depth_is_predicted_once_a_picture(tmp_path: Path) -> None:
    calls = []

    def estimator(rgb: np.ndarray) -> np.ndarray:
        calls.append(rgb)
        return rgb[..., 0]

    folder = invented.refspatial(tmp_path / "bench", {"Location": 6}, images=2)
    seeing = invented.ScriptedModel([HIT], uses_depth=True)
    go(open_benchmark(folder), tmp_path / "out", seeing, depth=predicted_depth(estimator))
    assert len(calls) == 2
    assert seeing.depths[1] is not None
    np.testing.assert_array_equal(seeing.depths[1], invented.picture(1)[..., 0])


# --- a RoboRefer network in this process -----------------------------------------------

TINY = Path(__file__).parents[2] / "data/golden/tiny-2b-style"


@pytest.mark.parametrize("batch", [3, 8])
def test_batches_answer_as_one_at_a_time(tmp_path: Path, batch: int) -> None:
    """Random weights, real network: the texts mean nothing and must be the same."""
    pytest.importorskip("torch")
    spec = f"roborefer:{TINY}"
    benchmark = open_benchmark(invented.refspatial(tmp_path / "b", {"Location": 4}, images=2))
    texts = []
    for out, size in (("one", 1), ("many", batch)):
        # Random weights never stop by themselves.
        pointer = open_pointer(model_options(spec, batch=size, device="cpu", max_new_tokens=12))
        report = run(pointer, benchmark, tmp_path / out, model_id=spec,
                     family=FAMILIES["tuples"], show_progress=False)  # fmt: skip
        pointer.close()
        assert report.failures == []
        texts.append([r["text"] for r in lines(tmp_path / out / "Location.jsonl")])
    assert texts[0] == texts[1]
    assert any(texts[0])


def test_a_checkpoint_is_asked_for_words_too(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    options = model_options(f"roborefer:{TINY}", batch=4, device="cpu", max_new_tokens=12)
    home = open_benchmark(invented.robospatial(tmp_path / "home"))
    report = run(open_pointer(options), home, tmp_path / "out", model_id="tiny",
                 family=FAMILIES["tuples"], depth=no_depth, show_progress=False)  # fmt: skip
    assert (report.asked, report.failures) == (4, [])
    record = lines(tmp_path / "out/Configuration.jsonl")[0]
    assert record["instruction"].startswith("Question 2?")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "echo:", "--batch", "4"], "--batch is for roborefer:"),
        (["--model", "roborefer:x", "--batch", "4", "--workers", "2"], "exclude each other"),
        (["--model", "roborefer:/nowhere"], "/nowhere"),
    ],
)
def test_models_that_cannot_be(
    benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    assert main([*options, "--data", str(benchmark.source), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*options, "--data", str(benchmark.source), "--workers", "0"])


#: what no file system takes, what is not there, what is of the other kind, and who says so
BAD_PATHS = {
    "NUL": ("a\0b", "usable path"),
    "long": ("x" * 5000, "5000 characters"),
    "long name": ("x" * 300, "usable path"),
    "empty": ("", "usable path"),
    "under a file": ("FILE/below", "FILE"),
    "unwritable": ("/proc/none/out", "/proc"),
    "missing": ("/nowhere/at/all", "nowhere"),
}


def refused(
    run: Callable[..., int], arguments: list[str], capsys: pytest.CaptureFixture[str], message: str
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert len(said) < 400


@pytest.mark.parametrize("kind", BAD_PATHS)
def test_paths_that_cannot_be_are_one_line_before_anything_is_opened(
    benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    (tmp_path / "FILE").write_text("")
    text, message = BAD_PATHS[kind]
    bad = text.replace("FILE", str(tmp_path / "FILE")) if text.startswith("FILE") else text
    data, model = str(benchmark.source), ["--model", "roborefer:/nowhere"]
    if kind != "unwritable":
        refused(main, [*model, "--data", bad or "\0"], capsys, message)
        refused(score_main, [bad or "\0", "--data", data], capsys, message)
        refused(score_main, [str(tmp_path), "--data", bad or "\0"], capsys, message)
    if kind not in ("missing", "empty"):
        refused(main, [*model, "--data", data, "--out", bad], capsys, message)
        report = ["--report", bad]
        refused(score_main, [str(tmp_path), "--data", data, *report], capsys, message)


def test_files_and_folders_in_each_other_s_place(
    benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, data = tmp_path / "file", str(benchmark.source)
    file.write_text("")
    refused(main, ["--model", "echo", "--data", str(file)], capsys, "is not a folder")
    refused(main, ["--model", "echo", "--data", data, "--out", str(file)], capsys, "a file, not")
    report = ["--report", str(tmp_path)]
    refused(score_main, [str(tmp_path), "--data", data, *report], capsys, "a folder, not a file")


def test_the_rest_of_a_broken_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "Location.jsonl"
    path.write_text('{"question_id": 0}\n{"question_id": 1, "text": "a long answer that brea')
    with AnswersFile(path) as file:
        assert file.answered == {0}
        file.append({"question_id": 1})
    assert path.read_text() == '{"question_id": 0}\n{"question_id": 1}\n'


def test_checkpoints_of_this_process_are_loaded_once() -> None:
    for spec in ("roborefer:demo", "transformers:/no/such"):
        with pytest.raises(BenchmarkError, match="--batch"):
            model_options(spec, workers=2)


def test_a_length_that_cannot_be_asked_for_is_refused() -> None:
    arguments = evaluate._arguments(
        ["--model", "roborefer-http://h", "--data", "x", "--max-new-tokens", "7"]
    )
    with pytest.raises(BenchmarkError, match="no field"):
        evaluate._tokens(arguments)
    arguments.max_new_tokens = 512
    assert evaluate._tokens(arguments) == "the server's"
