# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's chat template, rendered where it can do no harm.

A template is a program (Jinja) that a stranger wrote: transformers' sandbox keeps it from files and
from Python, not from loops without end or texts without bound.  So it is rendered once, while the
checkpoint is opened, in a process of its own with limits on time and memory, around a mark in place
of the question.  What stands before and after the mark is all that a prompt needs afterwards.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roborefer_ros.errors import CheckpointInvalidError, ModelFailedError

#: longest template that is looked at, and longest text that one may make, characters
_LONGEST_TEMPLATE, _LONGEST_TEXT = 1_000_000, 1_000_000

#: Of the process: processor time, time on a busy machine, memory.
_CPU_S, _WALL_S, _MEMORY_BYTES = 5, 60.0, 2**30

#: stands for the question; no template knows it
_MARK = "roborefer8f1c93question"

_CHILD = r"""
import json, resource, sys
job = json.loads(sys.stdin.buffer.read())
sys.path[:] = job["path"]
resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], job["cpu_s"]))
resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import jinja2, jinja2.ext, jinja2.sandbox

class Generation(jinja2.ext.Extension):
    tags = {"generation"}
    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)

def refuse(message):
    raise jinja2.TemplateError(message)

def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)

def strftime_now(pattern):
    import datetime
    return datetime.datetime.now().strftime(pattern)

try:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = tojson
    environment.globals.update(raise_exception=refuse, strftime_now=strftime_now)
    template = environment.from_string(job["template"])
    texts = [template.render(**values) for values in job["calls"]]
    reply = {"texts": texts} if sum(map(len, texts)) < job["longest"] else {"error": "too long"}
except MemoryError:
    reply = {"error": "it needs too much memory"}
except Exception as error:
    reply = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
sys.stdout.buffer.write(json.dumps(reply).encode())
"""


@dataclass(frozen=True)
class PromptFrame:
    """What a template puts around one user message that is to be answered.

    Attributes:
        before, after: The texts before and behind the message's own.
    """

    before: str
    after: str

    def around(self, text: str) -> str:
        """The whole prompt."""
        return f"{self.before}{text}{self.after}"


def render(
    template: str,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    add_generation_prompt: bool,
    special_tokens: Mapping[str, Any] | None = None,
) -> list[str]:
    """Render a template for each conversation, in a process of its own.

    Args:
        template: The Jinja text.
        conversations: Messages with ``role`` and ``content``.
        add_generation_prompt: Whether the model's turn is begun.
        special_tokens: Names that the template may use, e.g. ``bos_token``.

    Raises:
        CheckpointInvalidError: it cannot be rendered, or not within the limits.
        ModelFailedError: no process could be started.
    """
    if len(template) > _LONGEST_TEMPLATE:
        raise CheckpointInvalidError(f"the chat template has {len(template)} characters")
    names = {k: v for k, v in (special_tokens or {}).items() if isinstance(v, str | list)}
    calls = [
        {**names, "messages": messages, "add_generation_prompt": add_generation_prompt,
         "tools": None, "documents": None}
        for messages in conversations
    ]  # fmt: skip
    job = {
        "path": sys.path, "cpu_s": _CPU_S, "memory": _MEMORY_BYTES, "longest": _LONGEST_TEXT,
        "template": template, "calls": calls,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD],
            input=json.dumps(job, default=str).encode(),
            capture_output=True,
            timeout=_WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointInvalidError(_unending()) from error
    except OSError as error:
        raise ModelFailedError(f"no process for the chat template: {error}") from error
    if done.returncode:
        if done.returncode < 0:
            raise CheckpointInvalidError(_unending())
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise CheckpointInvalidError(f"the chat template cannot be rendered: {''.join(said)[:300]}")
    reply = json.loads(done.stdout)
    if "error" in reply:
        raise CheckpointInvalidError(f"the chat template cannot be rendered: {reply['error']}")
    texts: list[str] = reply["texts"]
    return texts


def _unending() -> str:
    return (
        f"the chat template does not come to an end within {_CPU_S} s (or needs more than "
        f"{_MEMORY_BYTES // 2**20} MiB); take it from the original checkpoint"
    )


def _not_once() -> str:
    return (
        "the chat template does not show the user's text exactly once; take it from the original "
        "checkpoint"
    )


def prompt_frame(
    template: str, parts: Sequence[Mapping[str, str]] = (), **special_tokens: Any
) -> PromptFrame:
    """The frame of one user message.

    Args:
        template: The Jinja text.
        parts: What stands before the text in the message, e.g. ``{"type": "image"}``; with none
            the content is a plain text.
        **special_tokens: Names that the template may use.

    Raises:
        CheckpointInvalidError: it cannot be rendered within the limits, or does not repeat the
            message's text once as it is.
    """
    content: Any = [*parts, {"type": "text", "text": _MARK}] if parts else _MARK
    (text,) = render(template, [[{"role": "user", "content": content}]], True, special_tokens)
    before, found, after = text.partition(_MARK)
    if not found or _MARK in after:
        raise CheckpointInvalidError(_not_once())
    return PromptFrame(before, after)


class ChatTemplate:
    """The template of a tokenizer for conversations of plain texts.

    One that provably ends (``is_plain``: loops over the messages only, no calls) is rendered by
    transformers in this process; of any other the frame of a question is kept.

    Args:
        tokenizer: Of transformers.

    Raises:
        CheckpointInvalidError: there is no template, or it cannot be rendered within the limits.
    """

    def __init__(self, tokenizer: Any) -> None:
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not isinstance(template, str) or not template:
            raise CheckpointInvalidError("the tokenizer has no chat template")
        self._tokenizer, self._template = tokenizer, template
        self._frame: PromptFrame | None = None
        if not is_plain(template):
            self._frame = prompt_frame(template, **tokenizer.special_tokens_map)
        else:
            self._check_once()

    def _check_once(self) -> None:
        try:
            text = self.text([{"role": "user", "content": _MARK}], True)
        except Exception as error:  # a template may raise anything
            raise CheckpointInvalidError(
                f"the chat template cannot be rendered: {type(error).__name__}: {error}"
            ) from error
        if text.count(_MARK) != 1:
            raise CheckpointInvalidError(_not_once())

    def text(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = False
    ) -> str:
        """A conversation as the model reads it.

        Raises:
            CheckpointInvalidError: as the class.
        """
        if self._frame is None:
            text: str = self._tokenizer.apply_chat_template(
                [dict(m) for m in messages],
                chat_template=self._template,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
            return text
        if add_generation_prompt and [m["role"] for m in messages] == ["user"]:
            return self._frame.around(messages[0]["content"])
        names = self._tokenizer.special_tokens_map
        return render(self._template, [messages], add_generation_prompt, names)[0]


def is_plain(template: str) -> bool:
    """Whether a template takes time and memory in proportion to the messages, whatever they say.

    So it is when it loops over ``messages`` only, not within a loop, and neither calls nor
    multiplies anything.
    """
    import jinja2
    from jinja2 import nodes

    if len(template) > _LONGEST_TEMPLATE:
        return False
    try:
        tree = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).parse(template)
    except (jinja2.TemplateError, RecursionError):
        return False
    unsafe = (
        nodes.Call, nodes.CallBlock, nodes.Macro, nodes.FilterBlock, nodes.Include, nodes.Import,
        nodes.Extends, nodes.Block, nodes.Mul, nodes.Pow, nodes.Mod, nodes.NSRef, nodes.AssignBlock,
    )  # fmt: skip
    if any(True for _ in tree.find_all(unsafe)):
        return False
    for loop in tree.find_all(nodes.For):
        over = loop.iter
        if loop.recursive or not isinstance(over, nodes.Name) or over.name != "messages":
            return False
        if any(True for part in loop.body for _ in part.find_all((nodes.For, nodes.Assign))):
            return False
        if any(isinstance(part, (nodes.For, nodes.Assign)) for part in loop.body):
            return False
    return all(each.name in ("trim", "string") for each in tree.find_all(nodes.Filter))
