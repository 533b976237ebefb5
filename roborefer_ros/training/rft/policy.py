# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The network as a policy: draws answers to a prompt, and tells their log probabilities.

Both happen inside ``forward``, since sharded weights are gathered by its hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from roborefer_ros.inference.decoding import Decoder, Row
from roborefer_ros.models.roborefer.labels import (
    IGNORE,
    SplicedBatch,
    TrainingBatch,
)
from roborefer_ros.models.roborefer.processing import (
    DEPTH,
    IMAGE,
    RoboReferProcessor,
    TiledPictures,
)
from roborefer_ros.training.data.items import media_rows
from roborefer_ros.training.rft.prompts import LoadedPrompt
from roborefer_ros.training.sft.module import MediaModule


@dataclass(frozen=True)
class PromptItem:
    """A prompt as the network is shown it.

    Attributes:
        ids: ``[N]`` token ids, one per media placeholder, ready to be answered.
        images, depths: Tiles of its pictures.
    """

    ids: torch.Tensor
    images: TiledPictures
    depths: TiledPictures


@dataclass(frozen=True)
class RolloutTask:
    """Draw answers to a prompt.

    Attributes:
        item: The prompt.
        seeds: Of each answer.
        max_new_tokens: Longest answer.
        temperature: Of the draws; 0 takes the most likely token.
    """

    item: PromptItem
    seeds: tuple[int, ...]
    max_new_tokens: int
    temperature: float = 1.0


@dataclass(frozen=True)
class Sampled:
    """One answer that was drawn.

    Attributes:
        ids: Its tokens, up to and with the stop token where there is one.
        text: They as text, without the stop token; other control tokens stay.
        is_cut: Whether the longest length ended it.
        logprobs: Natural log probability of each token as it was drawn, at temperature 1.
    """

    ids: tuple[int, ...]
    text: str
    is_cut: bool
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class LogProbTask:
    """Log probabilities of the answers of one group.

    Attributes:
        batch: Prompt and answer in each row; the pictures are those of one row.
        temperature: That they were drawn with.
    """

    batch: TrainingBatch
    temperature: float = 1.0


@dataclass(frozen=True)
class LogProbs:
    """What the network thinks of answers.

    Attributes:
        values: ``[G, T]`` natural log probability of each token, 0 on padding.
        mask: ``[G, T]`` 1 on tokens, 0 on padding.
        entropy: ``[G, T]`` entropy of the distribution in each token's place, without gradient.
    """

    values: torch.Tensor
    mask: torch.Tensor
    entropy: torch.Tensor


class PolicyModule(MediaModule):
    """A network that is trained by its own answers."""

    def forward(self, task: RolloutTask | LogProbTask) -> list[Sampled] | LogProbs:
        """Draw answers (without gradient), or tell log probabilities."""
        with self._precision():
            if isinstance(task, RolloutTask):
                return self._rollout(task)
            return self._log_probs(task)

    @torch.no_grad()
    def _rollout(self, task: RolloutTask) -> list[Sampled]:
        """Media are encoded once, the prompt is read once; its keys and values are copied."""
        prompt = self._prompt(task.item)
        room = self.processor.max_length - len(prompt)
        known = len(prompt) - 1
        rows = [
            Row(
                embeds=prompt,
                max_new_tokens=max(1, min(task.max_new_tokens, room)),
                temperature=task.temperature,
                random=torch.Generator().manual_seed(seed),
                known=known,
            )
            for seed in task.seeds
        ]
        decoder = Decoder(self.model.llm, stop_ids=self.processor.stop_ids)
        cache = decoder.cache_for(rows)
        shared = decoder.read([prompt[:known]])
        for number in range(len(rows)):
            cache.copy_row(shared, 0, number, known)
        for _ in decoder.run(rows, cache):
            pass
        return [self._sampled(row) for row in rows]

    def _prompt(self, item: PromptItem) -> torch.Tensor:
        """``[N, hidden]`` with the rows of the pictures."""
        images: list[torch.Tensor] = []
        depths: list[torch.Tensor] = []
        if item.images.pixel_values is not None:
            images = self.model.encode_images(item.images.pixel_values, item.images.block_sizes)
        if item.depths.pixel_values is not None:
            depths = self.model.encode_depths(item.depths.pixel_values, item.depths.block_sizes)
        return self.model.splice(item.ids, images, depths, **self.processor.splice_ids)

    def _sampled(self, row: Row) -> Sampled:
        text = self.processor.tokenizer.decode(
            row.ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        ids, logprobs = list(row.ids), list(row.logprobs)
        if row.stop_id is not None:
            ids.append(row.stop_id)
            logprobs.append(row.stop_logprob)
        return Sampled(tuple(ids), text, row.finish_reason == "length", tuple(logprobs))

    def _log_probs(self, task: LogProbTask) -> LogProbs:
        """By teacher forcing; the pictures are encoded once for all rows, with gradient."""
        batch = task.batch
        # First images, then depth, then text on every process: the order of the exchanges.
        images, extra_image = self._encode(batch, "image")
        depths, extra_depth = self._encode(batch, "depth")
        spliced = self._spliced(batch, images, depths)
        values, entropy, mask = self._told(spliced, task.temperature)
        return LogProbs(values + (extra_image + extra_depth), mask, entropy)

    def _spliced(
        self, batch: TrainingBatch, images: list[torch.Tensor], depths: list[torch.Tensor]
    ) -> SplicedBatch:
        """The pictures in place of the prompt's placeholders, in each row.

        What a model draws may hold the tokens of placeholders, too; they stand for themselves.
        """
        embed = self.model.llm.get_input_embeddings()
        embeds, labels = [], []
        for ids, own, mask in zip(batch.input_ids, batch.labels, batch.attention_mask, strict=True):
            ids, own = ids[mask], own[mask]
            start = int((own != IGNORE).nonzero()[0])
            prompt = self.model.splice(ids[:start], images, depths, **self.processor.splice_ids)
            embeds.append(torch.cat([prompt, embed(ids[start:].to(self.model.device))]))
            labels.append(functional.pad(own[start:], (len(prompt), 0), value=IGNORE))
        sizes = torch.tensor([len(row) for row in embeds])
        pad = torch.nn.utils.rnn.pad_sequence
        return SplicedBatch(
            pad(embeds, batch_first=True),
            pad(labels, batch_first=True, padding_value=IGNORE),
            torch.arange(int(sizes.max()))[None] < sizes[:, None],
        )

    def _told(
        self, spliced: SplicedBatch, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log probabilities, entropies and the mask, ``[G, T]`` each."""
        embeds, mask = spliced.inputs_embeds, spliced.attention_mask.to(self.model.device)
        targets = functional.pad(spliced.labels[:, 1:], (0, 1), value=IGNORE).to(embeds.device)
        output = self.model.llm.model(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
        learned = targets != IGNORE
        logits = self.model.llm.lm_head(output.last_hidden_state[learned]).float() / temperature
        chosen = logits.gather(-1, targets[learned][:, None])[:, 0]
        each = chosen - torch.logsumexp(logits, dim=-1)
        with torch.no_grad():
            every = torch.log_softmax(logits, dim=-1)
            entropy = -(every.exp() * every).sum(dim=-1)
        lengths = learned.sum(dim=1)
        present = torch.arange(int(lengths.max()), device=embeds.device) < lengths[:, None]
        blank = each.new_zeros(present.shape)
        return (
            blank.masked_scatter(present, each),
            blank.masked_scatter(present, entropy),
            present.to(each.dtype),
        )


def prompt_item(
    processor: RoboReferProcessor, loaded: LoadedPrompt, suffix: str = "append"
) -> PromptItem:
    """A prompt in the layout that SFT learns: ``<image> <depth>`` pairs, a newline, the question.

    Args:
        processor: Of the checkpoint.
        loaded: The prompt with its pictures.
        suffix: What follows the question; see ``Prompt.text``.
    """
    images = processor.tile(loaded.images, half=False)
    depths = processor.tile(loaded.depths, half=False)
    prefix = (f"{IMAGE} {DEPTH}\n" if loaded.depths else f"{IMAGE}\n") * len(loaded.images)
    content = processor.expand(prefix, images, depths) + loaded.prompt.text(suffix)
    return PromptItem(processor.prompt_ids(content), images, depths)


def rows_of_prompt(processor: RoboReferProcessor, item: PromptItem) -> int:
    """Rows of the language model that a prompt takes, pictures included."""
    tokens = processor.splice_ids
    media = torch.tensor([tokens["image_token_id"], tokens["depth_token_id"]])
    text = int((~torch.isin(item.ids, media)).sum())
    return text + media_rows(processor, item.images, item.depths)


def blank_item(processor: RoboReferProcessor) -> PromptItem:
    """Stands in for a prompt that is too long: processes take part in equally many passes."""
    return PromptItem(processor.prompt_ids("-"), TiledPictures(), TiledPictures())


def group_batch(item: PromptItem, answers: Sequence[Sequence[int]], pad_id: int) -> TrainingBatch:
    """Prompt and answer in each row, with the prompt's pictures once.

    Args:
        item: The prompt.
        answers: Token ids of each answer.
        pad_id: Fills up shorter rows.
    """
    size = len(item.ids) + max(map(len, answers))
    ids = torch.full((len(answers), size), pad_id)
    labels = torch.full_like(ids, IGNORE)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, answer in enumerate(answers):
        end = len(item.ids) + len(answer)
        ids[row, : len(item.ids)] = item.ids
        ids[row, len(item.ids) : end] = labels[row, len(item.ids) : end] = torch.tensor(answer)
        mask[row, :end] = True
    return TrainingBatch(
        ids,
        labels,
        mask,
        item.images.pixel_values,
        item.depths.pixel_values,
        item.images.block_sizes,
        item.depths.block_sizes,
    )


def rows_of(batch: TrainingBatch, rows: slice) -> TrainingBatch:
    """Some rows of a group's batch, with the same pictures."""
    return replace(
        batch,
        input_ids=batch.input_ids[rows],
        labels=batch.labels[rows],
        attention_mask=batch.attention_mask[rows],
    )
