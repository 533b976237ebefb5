# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The three ways to ask, from the clients' side."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from serving import TOKEN, Served, base64_png  # type: ignore[import-not-found]

from roborefer_ros.errors import NoPointInAnswerError
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.prompts import POINT_SUFFIX

BEARER = {"Authorization": f"Bearer {TOKEN}"}
TEXT = f"Point to the mug. {POINT_SUFFIX}"


def reference_client(
    url: str, images: list[str], text: str, depths: list[str] | None = None, enable_depth: int = 0
) -> str | None:
    """What the reference's ``query_server`` does: three attempts, JSON, ``answer``."""
    body = {
        "image_url": images,
        "depth_url": depths or [],
        "enable_depth": enable_depth,
        "text": text,
    }
    for _ in range(3):
        try:
            request = urllib.request.Request(
                f"{url}/query",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request) as response:
                reply = json.load(response)
        except OSError:
            continue
        assert reply["result"] == 1
        return str(reply["answer"])
    return None


# --- the reference's contract ----------------------------------------------------------


def test_greeting(tiny: Served) -> None:
    with urllib.request.urlopen(f"{tiny.url}/") as response:
        assert response.read() == b"Hello, World!"
        assert response.headers["Content-Type"].startswith("text/html")


def test_what_flask_answers_by_itself_is_answered(tiny: Served) -> None:
    with tiny.client() as client:
        head = client.head("/")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"].startswith("text/html")
        for path, allowed in (("/", "GET"), ("/query", "POST")):
            reply = client.options(path)
            assert reply.status_code == 200
            assert allowed in reply.headers["Allow"]


def short(served: Served, **body: Any) -> Any:
    """Ask ``/query`` of a model that would talk for long; the text is what matters."""
    with served.client() as client:
        return client.post("/query", json=body)


def test_reference_client_gets_the_models_words(echo: Served, image: str) -> None:
    # The reference's clients know no token, so this one asks a server of its own kind: below.
    reply = echo.client(headers=BEARER).post(
        "/query", json={"image_url": [image], "text": f"[(0.25, 0.5)] {POINT_SUFFIX}"}
    )
    assert reply.status_code == 200
    assert reply.json() == {"result": 1, "answer": f"[(0.25, 0.5)] {POINT_SUFFIX}"}


@pytest.mark.parametrize("enable_depth", [0, "1", None, 2])
def test_depth_is_ignored_unless_enable_depth_is_one(
    echo: Served, image: str, enable_depth: object
) -> None:
    body = {"image_url": [image], "depth_url": ["junk"], "text": "[(0.5, 0.5)]"}
    reply = echo.client(headers=BEARER).post("/query", json={**body, "enable_depth": enable_depth})
    assert reply.json() == {"result": 1, "answer": "[(0.5, 0.5)]"}


@pytest.fixture(scope="session")
def brief(start: Any) -> Served:
    """The tiny network with short answers, without a token: as the reference runs."""
    from serving import TINY

    served: Served = start("--model", TINY, "--max-new-tokens", "16")
    return served


def test_reference_client_with_and_without_depth(brief: Served, image: str, rgb: Any) -> None:
    depth = base64_png(np.ascontiguousarray(rgb[..., 1]))
    other = base64_png(255 - rgb)
    seen: list[tuple[int, int]] = []

    def ask(images: list[str], text: str, *more: Any) -> str | None:
        answer = reference_client(brief.url, images, text, *more)
        count = [
            int(brief.metric(f"roborefer_encoded_picture_{c}_total")) for c in ("misses", "hits")
        ]
        seen.append((count[0], count[1]))
        return answer

    answers = [
        ask([image], TEXT),
        ask([image], TEXT, [depth], 1),
        ask([image, other], TEXT),
        ask([], "Hello."),
    ]
    assert None not in answers
    # The network's weights are random, so look at what it was shown: (new, seen before).
    assert seen == [(1, 0), (2, 1), (3, 2), (3, 2)]
    again = reference_client(brief.url, [image], TEXT)
    assert again == answers[0]
    ignored = reference_client(brief.url, [image], TEXT, [depth], 0)
    assert ignored == answers[0]


def test_true_is_one(brief: Served, image: str, rgb: Any) -> None:
    depth = base64_png(np.ascontiguousarray(rgb[..., 1]))
    body = {"image_url": [image], "depth_url": [depth], "text": TEXT}
    replies = [short(brief, **body, enable_depth=value).json() for value in (1, True, 1.0)]
    assert replies[0] == replies[1] == replies[2]


def test_depth_that_nobody_can_make(brief: Served, start: Any, image: str) -> None:
    """``use_api.py`` always asks for depth and sends none; a strict server may refuse that."""
    from serving import TINY

    body = {"image_url": [image], "text": TEXT}
    asked, plain = short(brief, **body, enable_depth=1).json(), short(brief, **body).json()
    assert asked == {**plain, "depth_used": "none"}
    assert "answered from RGB alone" in brief.log.read_text()
    reply = short(brief, **body, depth_url=[image] * 2, enable_depth=1)
    assert reply.status_code == 422
    assert "2 depth pictures for 1 images" in reply.json()["error"]["message"]
    strict = start("--model", TINY, "--require-depth")
    reply = short(strict, **body, enable_depth=1)
    strict.stop()
    assert reply.status_code == 422
    assert "--depth-network" in reply.json()["error"]["message"]


def test_same_answer_as_in_process_and_over_the_remote_pointer(brief: Served, rgb: Any) -> None:
    """HTTP, batches and the cache change nothing about what the model says."""
    from serving import TINY

    here = open_pointer(TINY, device="cpu", dtype="float32", max_new_tokens=16)
    there = open_pointer(f"roborefer-http:{brief.url.removeprefix('http:')}?depth=given")
    grey = np.ascontiguousarray(rgb[..., 0])
    said = []
    for pointer in (here, there):
        with pytest.raises(NoPointInAnswerError) as caught:
            pointer.point(rgb, grey, "the mug")
        said.append(caught.value.answer)
        pointer.close()
    assert said[0] == said[1] != ""


def test_replies_tell_which_depth_was_used(brief: Served, image: str, rgb: Any) -> None:
    """This server has no depth network, which its log says, too."""
    body = {"image_url": [image], "text": "Where is the mug?", "enable_depth": 1}
    grey = base64_png(np.ascontiguousarray(rgb[..., 1]))
    with brief.client() as client:
        assert client.post("/query", json=body).json()["depth_used"] == "none"
        given = client.post("/query", json={**body, "depth_url": [grey]}).json()
        assert given["depth_used"] == "given"
        asked = {"image": image, "instruction": "the mug"}
        assert client.post("/v1/point", json=asked).json()["depth_used"] == "none"
        with_depth = {**asked, "relative_depth": grey}
        assert client.post("/v1/point", json=with_depth).json()["depth_used"] == "given"
    assert "depth_used none" in brief.log.read_text()


def test_required_depth_is_refused_with_its_number(start: Any, image: str) -> None:
    from serving import TINY

    served: Served = start("--model", TINY, "--max-new-tokens", "4", "--require-depth")
    with served.client() as client:
        for route, body in {
            "/query": {"image_url": [image], "text": "Where?", "enable_depth": 1},
            "/v1/point": {"image": image, "instruction": "the mug"},
        }.items():
            reply = client.post(route, json=body)
            assert reply.status_code == 422
            assert reply.json()["error"]["code"] == 2556
            assert "--depth-network" in reply.json()["error"]["message"]
    served.stop()


def test_depth_without_intrinsics_is_told(echo: Served, image: str) -> None:
    depth = {"data": base64_png(np.full((48, 64), 1000, np.uint16)), "unit_m": 0.001}
    reply = point(echo, image=image, instruction="[(0.5, 0.5)]", depth=depth)
    assert reply.status_code == 422
    assert "without intrinsics" in reply.json()["error"]["message"]


# --- the typed API ---------------------------------------------------------------------

CAMERA = {"fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}


def point(echo: Served, **body: Any) -> Any:
    return echo.client(headers=BEARER).post("/v1/point", json=body)


def test_point_in_3d(echo: Served, image: str) -> None:
    depth = np.full((48, 64), 1500, np.uint16)
    reply = point(
        echo,
        image=image,
        instruction="[(0.5, 0.5), (0.75, 0.25)]",
        depth={"data": base64_png(depth)},
        intrinsics=CAMERA,
    )
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert (body["width"], body["height"], body["error"]) == (64, 48, None)
    first, second = body["points"]
    assert (first["u"], first["v"]) == (31.5, 23.5)
    assert np.allclose(first["position"]["xyz_m"], (0.0, 0.0, 1.5), atol=1e-3)
    expected = ((47.5 - 31.5) / 60 * 1.5, (11.5 - 23.5) / 60 * 1.5, 1.5)
    assert np.allclose(second["position"]["xyz_m"], expected, atol=1e-3)
    assert len(first["position"]["covariance"]) == 36
    assert {"decode_image", "model", "lift"} <= set(body["timings_s"])


def test_depth_as_floats_in_metres(echo: Served, image: str) -> None:
    import base64

    depth = base64.b64encode(np.full((48, 64), 2.0, "<f4").tobytes()).decode()
    reply = point(
        echo,
        image=image,
        instruction="[(0.5, 0.5)]",
        depth={"data": depth, "encoding": "float32"},
        intrinsics=CAMERA,
    ).json()
    assert np.allclose(reply["points"][0]["position"]["xyz_m"], (0, 0, 2.0), atol=1e-3)


def test_point_without_depth_has_no_position(echo: Served, image: str) -> None:
    reply = point(echo, image=image, instruction="[(1.0, 0.5)]", max_points=1).json()
    assert reply["points"][0]["position"] is None
    assert reply["points"][0]["u"] == 63.0


def test_point_over_a_hole_says_why_and_keeps_its_2d(echo: Served, image: str) -> None:
    depth = np.full((48, 64), 1500, np.uint16)
    depth[:, :40] = 0
    reply = point(
        echo,
        image=image,
        instruction="[(0.1, 0.5), (0.9, 0.5)]",
        depth={"data": base64_png(depth)},
        intrinsics=CAMERA,
    ).json()
    hole, good = reply["points"]
    assert hole["position"] is None
    assert hole["error"]["name"] == "NoDepthAtPoint"
    assert good["position"] is not None


def test_the_words_decide_what_is_looked_for_and_the_reply_tells(echo: Served, image: str) -> None:
    place = point(echo, image=image, instruction="put it next to the mug at [(0.5, 0.5)]").json()
    assert place["mode"] == "free_space"
    assert place["mode_reason"]
    asked = point(echo, image=image, instruction="put it at [(0.5, 0.5)]", mode="object").json()
    assert asked["mode"] == "object"
    assert "asked" in asked["mode_reason"]


def test_no_point_is_a_reply_with_a_reason(echo: Served, image: str) -> None:
    reply = point(echo, image=image, instruction="the mug")
    assert reply.status_code == 200
    assert reply.json()["points"] == []
    assert reply.json()["error"]["code"] == 2544


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"instruction": " \n "}, 422, "empty"),
        ({"instruction": "x" * 2001}, 422, "2001 characters"),
        ({"image": "!!"}, 422, "not base64"),
        ({"image": "https://example.com/a.png"}, 415, "fetches nothing"),
        ({"imagee": "x"}, 422, "imagee"),
        ({"mode": "fast"}, 422, "mode"),
        ({"max_points": -1}, 422, "max_points"),
        ({"timeout_s": 0}, 422, "timeout_s"),
        ({"intrinsics": {**CAMERA, "fx": 0}}, 422, "intrinsics.fx"),
        ({"intrinsics": CAMERA}, 422, "without depth"),
        ({"depth": {"data": base64_png(np.ones((4, 4), np.uint16))}}, 422, "depth is 4x4"),
        ({"depth": {"data": base64_png(np.ones((48, 64), np.uint8))}}, 415, "16-bit"),
        ({"image": base64_png(np.zeros((1200, 1000, 3), np.uint8))}, 422, "1200000 pixels"),
    ],
)
def test_wrong_fields_are_named(
    echo: Served, image: str, change: dict[str, Any], status: int, reason: str
) -> None:
    reply = point(echo, **{"image": image, "instruction": "[(0.5, 0.5)]", **change})
    assert (reply.status_code, reason in reply.json()["error"]["message"]) == (status, True), (
        reply.text[:500]
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fx": 0.6}, "fx = 0.6 gives a field of view of 177.9"),
        ({"fy": 6000.0}, "fy = 6000 gives"),
        ({"cx": 15.5, "cy": 11.5}, "the principal point (15.5, 11.5) of the 64x48 image"),
        ({"cx": 0.0, "cy": 0.0}, "the principal point (0, 0)"),
        ({"distortion_model": "plumb_bob", "distortion": [0.1]}, "takes 4 or 5"),
        ({"distortion_model": "equidistant", "distortion": [0.1] * 5}, "takes 4"),
    ],
)
def test_intrinsics_that_no_camera_has_are_named(
    echo: Served, image: str, change: dict[str, Any], reason: str
) -> None:
    depth = {"data": base64_png(np.full((48, 64), 1000, np.uint16))}
    body = {"image": image, "depth": depth, "intrinsics": {**CAMERA, **change}}
    reply = point(echo, instruction="[(0.5, 0.5)]", **body)
    assert reply.status_code == 422
    assert reason in reply.json()["error"]["message"]


@pytest.mark.parametrize(("model", "count"), [("plumb_bob", 5), ("equidistant", 4)])
def test_zeros_behind_the_coefficients_change_nothing(
    echo: Served, image: str, model: str, count: int
) -> None:
    depth = {"data": base64_png(np.full((48, 64), 1000, np.uint16))}
    replies = []
    for length in (count, 15, 20):
        lens = [0.01, -0.002, 0.001, 0.001, 0.003][:count]
        lens += [0.0] * (length - count)
        camera = {**CAMERA, "distortion_model": model, "distortion": lens}
        body = {"image": image, "depth": depth, "intrinsics": camera}
        replies.append(point(echo, instruction="[(0.3, 0.3)]", **body))
    assert [r.status_code for r in replies] == [200, 200, 200], replies[-1].text[:300]
    assert replies[0].json()["points"][0]["position"]
    assert len({json.dumps(r.json()["points"]) for r in replies}) == 1


# --- OpenAI's API ----------------------------------------------------------------------


def chat(text: str, image: str, **more: Any) -> dict[str, Any]:
    url = {"url": f"data:image/png;base64,{image}"}
    content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]
    return {"model": "echo", "messages": [{"role": "user", "content": content}], **more}


def test_openai_pointer_points_through_the_server(
    echo: Served, rgb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own OpenAI client: models list, stream, token."""
    monkeypatch.setenv("ROBOREFER_API_KEY", TOKEN)
    pointer = open_pointer(f"openai:{echo.url.removeprefix('http:')}/v1?family=tuples")
    heard: list[str] = []
    answer = pointer.point(rgb, None, "[(0.2, 0.4)]", on_text=heard.append)
    pointer.close()
    assert answer.points == ((0.2, 0.4),)
    assert heard
    assert heard[-1] == answer.text


def test_chat_completion_shape(echo: Served, image: str) -> None:
    with echo.client(headers=BEARER) as client:
        whole = client.post("/v1/chat/completions", json=chat("[(0.1, 0.2)]", image)).json()
        assert whole["object"] == "chat.completion"
        assert whole["choices"][0]["message"] == {"role": "assistant", "content": "[(0.1, 0.2)]"}
        assert whole["choices"][0]["finish_reason"] == "stop"
        options = {"stream": True, "stream_options": {"include_usage": True}}
        reply = client.post("/v1/chat/completions", json=chat("[(0.1, 0.2)]", image, **options))
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    words = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]
    assert "".join(words) == "[(0.1, 0.2)]"
    assert "usage" in chunks[-1]
    assert chunks[-1]["choices"] == []
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]][-1] == "stop"


def test_streamed_words_are_those_of_the_whole_reply(brief: Served, image: str) -> None:
    body = chat("Where?", image, max_tokens=12)
    del body["model"]
    with brief.client() as client:
        whole = client.post("/v1/chat/completions", json=body).json()["choices"][0]
        text = client.post("/v1/chat/completions", json={**body, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert said.strip() == whole["message"]["content"]
    assert len(chunks) > 4
    assert whole["finish_reason"] == chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_the_model_is_listed_and_found_by_name(brief: Served) -> None:
    with brief.client() as client:
        listed = client.get("/v1/models").json()["data"]
        assert [row["id"] for row in listed] == ["roborefer:tiny-2b-style"]
        assert client.get("/v1/models/roborefer:tiny-2b-style").json() == listed[0]
        assert client.get("/v1/models/gpt-9").status_code == 404


def test_temperature_and_seed_are_heeded(brief: Served, image: str) -> None:
    with brief.client() as client:

        def ask(**more: Any) -> str:
            body = chat("Where?", image, max_tokens=12, **more)
            del body["model"]
            reply = client.post("/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            return str(reply.json()["choices"][0]["message"]["content"])

        greedy = ask()
        assert ask(temperature=0) == ask(temperature=0, top_p=0.9) == greedy
        drawn = ask(temperature=1.5, seed=7)
        assert ask(temperature=1.5, seed=7, top_p=1) == drawn != greedy
        assert ask(temperature=1.5, seed=8) != drawn


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"stop": ["]"]}, 400, "stop"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"temperature": 0.7}, 400, "temperature"),
        ({"n": 2}, 400, "n"),
        ({"tools": [{}]}, 400, "tools"),
        ({"model": "gpt-9"}, 404, "model"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages"),
        ({"messages": []}, 422, "messages"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(
    echo: Served, image: str, change: dict[str, Any], status: int, param: str
) -> None:
    reply = echo.client(headers=BEARER).post(
        "/v1/chat/completions", json={**chat("hi", image), **change}
    )
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


# --- roborefer query -------------------------------------------------------------------


def test_query_command_marks_the_point(
    echo: Served, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roborefer_ros.cli.query import main

    monkeypatch.setenv("ROBOREFER_API_KEY", TOKEN)
    picture, depth, out = (tmp_path / name for name in ("a.png", "d.png", "marked.jpg"))
    cv2.imwrite(str(picture), np.zeros((100, 200, 3), np.uint8))
    cv2.imwrite(str(depth), np.full((100, 200), 1000, np.uint16))
    # Without quotes a shell hands over two words.
    ask = [str(picture), "[(0.25,", "0.5)]", "--url", echo.url]
    assert main([*ask, "--out", str(out)]) == 0
    assert "pixel (49.5, 49.5)" in capsys.readouterr().out
    marked = cv2.imread(str(out)).astype(int)
    assert marked[45:55, 45:55].max() > 100
    assert marked[:, 100:].max() < 20
    camera = ["--depth", str(depth), "--intrinsics", "100", "100", "99.5", "49.5"]
    assert main([*ask, *camera, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["points"][0]
    assert np.allclose(found["xyz_m"], (-0.5, 0.0, 1.0), atol=1e-3)
    monkeypatch.delenv("ROBOREFER_API_KEY")
    assert main(ask) == 1
    assert "401" in capsys.readouterr().err
    assert main([str(tmp_path / "none.png"), "x"]) == 2
    with pytest.raises(SystemExit):
        main([str(picture), " ", "--url", echo.url])


@pytest.mark.parametrize("name", ["marked.xyz", "marked", "missing/marked.jpg"])
def test_query_command_looks_where_it_writes_before_it_asks(
    name: str, tmp_path: Path, capsys: Any
) -> None:
    from roborefer_ros.cli.query import main

    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((10, 10, 3), np.uint8))
    assert main([str(picture), "x", "--url", "127.0.0.1:1", "--out", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert "--out" in said
    assert "connection" not in said


def test_query_command_never_evaluates_the_answer(
    echo: Served, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roborefer_ros.cli.query import main

    monkeypatch.setenv("ROBOREFER_API_KEY", TOKEN)
    picture, trap = tmp_path / "a.png", tmp_path / "trap"
    cv2.imwrite(str(picture), np.zeros((10, 10, 3), np.uint8))
    attack = f"[__import__('pathlib').Path('{trap}').touch()]"
    assert main([str(picture), attack, "--url", echo.url]) == 1
    assert not trap.exists()
    assert "no point" in capsys.readouterr().err


def test_the_example_asks_a_server(brief: Served, rgb: Any, tmp_path: Path) -> None:
    """It needs nothing but Python."""
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), rgb)
    example = Path(__file__).resolve().parents[2] / "examples" / "http_client.py"
    done = subprocess.run(
        [sys.executable, "-I", str(example), brief.url, str(picture), "the mug"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    # The tiny network's words hold a point or not; either way the server's answer is read.
    assert done.returncode == 0 or "the model answered" in done.stderr
