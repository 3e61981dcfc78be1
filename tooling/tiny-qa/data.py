"""Batches assembled on the device with index arithmetic: no Python loop, no token leaves the GPU.

A context is a row of passages. A titled passage reads `(the red notebook) text`, and its question `in the red notebook,
where is mary? \\n `. One passage is the asked story, half of the other tokens are stories with clashing names, half prose; three
in ten prose passages have no title. A row that is filled but not titled holds its plain story among prose alone.
"""
from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch

from prepare import ANSWER, QUESTION
from text import EOS

HEADER = 5  # tokens of "(the red notebook)"
VOCABULARY = 2048
FILL_STORY_LIMIT = 220  # longer stories serve as the asked one only


@dataclass
class Batch:
    tokens: torch.Tensor  # [B, L] question, contexts, </s>, padding 0
    in_story: torch.Tensor  # [B, L] bool, tokens of the asked story
    is_fact: torch.Tensor  # [B, L] bool, tokens of its supporting facts
    answer: torch.Tensor  # [B, ANSWER] ends in </s>, padding 0
    task: torch.Tensor  # [B]


class Pool:
    """One split's arrays on a device."""

    def __init__(self, folder: str, split: str, device: str) -> None:
        arrays = np.load(os.path.join(folder, f"{split}.npz"))
        put = lambda name: torch.from_numpy(arrays[name].astype(np.int64)).to(device)
        self.device = device
        self.flat, self.sentence_of = put("flat"), put("sentence_of")
        self.task, self.base, self.length = put("task"), put("base"), put("length")
        self.question, self.question_length = put("question"), put("question_length")
        self.answer, self.facts = put("answer"), put("facts")
        self.prose_start, self.renaming = put("prose_start"), put("renaming")
        self.adjectives, self.nouns = put("adjectives"), put("nouns")
        self.title, self.asked = put("title"), put("asked")
        self.total = self.question_length + self.length + HEADER * 2 + 1  # tokens with titles and </s>
        fill = (self.length <= FILL_STORY_LIMIT) & (self.length > 0)
        self.fillers = fill.nonzero()[:, 0]
        counts = torch.bincount(self.task[self.fillers], minlength=21)
        self.filler_count, self.filler_start = counts, torch.cumsum(counts, 0) - counts
        sums = torch.zeros(21, device=device).index_add_(0, self.task[self.fillers], self.length[self.fillers].float())
        mean_story = (sums / counts.clamp(min=1)).sum().item() / 20 + HEADER
        mean_prose = 0.85 * (24 + 180) / 2 + 0.15 * (181 + 700) / 2 + HEADER
        # Share of passages that are stories so that half of the filling's tokens are.
        self.story_share = mean_prose / (mean_story + mean_prose)

    def by_task(self, low: int, high: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Examples with low < total <= high, as (indices in task order, start per task, count per task)."""
        picked = ((self.total > low) & (self.total <= high)).nonzero()[:, 0]
        counts = torch.bincount(self.task[picked], minlength=21)
        return picked, torch.cumsum(counts, 0) - counts, counts


def draw_examples(lists: tuple[torch.Tensor, torch.Tensor, torch.Tensor], weights: torch.Tensor, count: int) -> torch.Tensor:
    """Tasks by weight, then uniform inside the task."""
    picked, start, counts = lists
    task = torch.multinomial(weights * (counts > 0), count, replacement=True)
    offset = (torch.rand(count, device=task.device) * counts[task]).long()
    return picked[start[task] + offset]


def rename(pool: Pool, tokens: torch.Tensor, answer: torch.Tensor, task: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Consistently renames the people, places, ... of each row's task, in a share of the rows."""
    rows, size = len(task), VOCABULARY
    source = pool.renaming[task]  # [B, G, N, F]
    present = source[..., 0] >= 0
    order = torch.rand(present.shape, device=tokens.device)
    order = torch.where(present, order, torch.arange(present.shape[-1], device=tokens.device) + 2.0)
    keep = torch.rand(rows, 1, 1, device=tokens.device) >= share
    steady = torch.arange(present.shape[-1], device=tokens.device).expand_as(order)
    permutation = torch.where(keep, steady, order.argsort(-1))
    target = source.gather(2, permutation[..., None].expand_as(source))
    table = torch.arange(size + 1, device=tokens.device).repeat(rows, 1)
    table.scatter_(1, torch.where(source >= 0, source, size).flatten(1), torch.where(target >= 0, target, size).flatten(1))
    return table.gather(1, tokens), table.gather(1, answer)


def _titles(pool: Pool, rows: int, passages: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Adjective and noun of every passage [rows, passages + 1]; the last column is the asked story's and is its alone."""
    device, na, nn = pool.device, len(pool.adjectives), len(pool.nouns)
    adjective = torch.randint(na, (rows, passages + 1), device=device)
    noun = torch.randint(nn, (rows, passages + 1), device=device)
    near = torch.rand(rows, passages + 1, device=device)  # near misses share one word with the asked title
    near[:, -1] = 1
    adjective = torch.where(near < 0.15, adjective[:, -1:], adjective)
    noun = torch.where((near >= 0.15) & (near < 0.3), noun[:, -1:], noun)
    same = (adjective == adjective[:, -1:]) & (noun == noun[:, -1:])
    same[:, -1] = False
    noun = torch.where(same, (noun + 1) % nn, noun)
    return pool.adjectives[adjective], pool.nouns[noun]


def assemble(pool: Pool, index: torch.Tensor, length: int, titled: torch.Tensor, fill_to: torch.Tensor,
             renaming: float = 0.0) -> Batch:
    """Rows of `length` tokens for the examples `index`.

    titled: [B] bool. fill_to: [B] total tokens wanted; rows that already have more get no filling.
    """
    device, rows = pool.device, len(index)
    task, base, size = pool.task[index], pool.base[index], pool.length[index]
    head = torch.where(titled, HEADER, 0)
    asked_length = pool.question_length[index] + head
    # Fillers: [B, M] start, body length.
    passages = max(1, length // 44 + 6)
    shape = (rows, passages)
    is_story = (torch.rand(shape, device=device) < pool.story_share) & titled[:, None]
    headed = is_story | (torch.rand(shape, device=device) < torch.where(titled, 0.7, 0.3)[:, None])
    clash = torch.rand(shape, device=device) < 0.5  # half of the stories come from the asked story's own task
    other = torch.where(clash, task[:, None], torch.randint(1, 21, shape, device=device))
    other = torch.where(pool.filler_count[other] > 0, other, 1)
    story = pool.fillers[pool.filler_start[other] + (torch.rand(shape, device=device) * pool.filler_count[other]).long()]
    prose_length = torch.where(torch.rand(shape, device=device) < 0.85, torch.randint(24, 181, shape, device=device),
                               torch.randint(181, 701, shape, device=device))
    prose = pool.prose_start[torch.randint(len(pool.prose_start), shape, device=device)]
    prose = prose.clamp(max=len(pool.flat) - 2 * length - 1).clamp(min=pool.prose_start[0])
    body = torch.where(is_story, pool.length[story], prose_length)
    start = torch.where(is_story, pool.base[story], prose)
    header_length = torch.where(headed, HEADER, 0)
    ends = (body + header_length).cumsum(1)
    budget = fill_to - asked_length - head - size - 1
    used = (ends <= budget[:, None]).sum(1)  # passages that fit whole
    taken = torch.where(used > 0, ends.gather(1, (used - 1).clamp(min=0)[:, None])[:, 0], 0)
    last = used.clamp(max=passages - 1)[:, None]  # one more passage, prose cut to what is left
    rest = budget - taken - header_length.gather(1, last)[:, 0]
    topped = (rest >= 8)[:, None]
    body.scatter_(1, last, torch.where(topped, rest[:, None], 0))
    start.scatter_(1, last, prose.gather(1, last))
    count = used + topped[:, 0]
    number = torch.arange(passages, device=device)
    whole = torch.where(number < count[:, None], body + header_length, 0)
    # Put the asked story at a random place among them.
    slot = (torch.rand(rows, device=device) * (count + 1)).long()
    place = number + (number >= slot[:, None])
    extent = torch.zeros(rows, passages + 1, dtype=torch.long, device=device).scatter_(1, place, whole)
    origin = torch.zeros_like(extent).scatter_(1, place, start)
    slot = slot[:, None]
    extent.scatter_(1, slot, (size + head)[:, None])
    origin.scatter_(1, slot, base[:, None])
    header_at = torch.zeros_like(extent).scatter_(1, place, header_length).scatter_(1, slot, head[:, None])
    adjective, noun = _titles(pool, rows, passages)
    adjective_at = torch.zeros_like(extent).scatter_(1, place, adjective[:, :-1]).scatter_(1, slot, adjective[:, -1:])
    noun_at = torch.zeros_like(extent).scatter_(1, place, noun[:, :-1]).scatter_(1, slot, noun[:, -1:])
    # Every position finds its passage and its offset in it.
    finish = extent.cumsum(1)
    position = torch.arange(length, device=device).expand(rows, length) - asked_length[:, None]
    passage = torch.searchsorted(finish, position.contiguous(), right=True).clamp(max=passages)
    inside = position - (finish - extent).gather(1, passage)
    total = finish[:, -1:]
    text_at = inside - header_at.gather(1, passage)
    source = (origin.gather(1, passage) + text_at).clamp(0, len(pool.flat) - 1)
    context = pool.flat[source]
    in_title = text_at < 0
    header = torch.stack([adjective_at * 0 + pool.title[0], adjective_at * 0 + pool.title[1], adjective_at, noun_at,
                          adjective_at * 0 + pool.title[2]], -1)  # [B, M+1, 5]
    titles = header.flatten(1).gather(1, (passage * HEADER + inside.clamp(0, HEADER - 1)))
    context = torch.where(in_title, titles, context)
    # The question in front.
    asked = torch.cat([pool.asked[:2].expand(rows, 2), adjective[:, -1:], noun[:, -1:], pool.asked[2:].expand(rows, 1)], 1)
    question = torch.cat([asked, pool.question[index][:, : QUESTION]], 1)  # titled form
    column = torch.arange(length, device=device).expand(rows, length)
    question = question.gather(1, (column + (HEADER - head)[:, None]).clamp(max=question.shape[1] - 1))
    tokens = torch.where(position < 0, question, context)
    tokens = torch.where((position >= total) & (position >= 0), 0, tokens)
    tokens = torch.where(position == total, EOS, tokens)
    in_story = (passage == slot) & (position >= 0) & (position < total)
    sentence = pool.sentence_of[source]
    facts = pool.facts[index]
    is_fact = in_story & ~in_title & (sentence[:, :, None] == facts[:, None, :]).any(-1)
    answer = pool.answer[index][:, :ANSWER]
    if renaming > 0:
        tokens, answer = rename(pool, tokens, answer, task, renaming)
    return Batch(tokens, in_story, is_fact, answer, task)
