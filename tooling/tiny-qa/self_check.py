"""Quick checks of the data, the model and the export, on the CPU.

    python self_check.py --data DATA --cache CACHE [--model ../../apps/qa-demo/model]
"""
from __future__ import annotations

import argparse
import collections
import os
import tempfile

import torch

import babi
import checkpoint
import model as M
from data import Pool, assemble
from optim import Optimizer
from text import EOS, SEPARATOR

STEP = {"to the left of": (-1, 0), "to the right of": (1, 0), "above": (0, 1), "below": (0, -1)}


def solve_task17(sentences: list[str], question: str) -> str:
    """yes or no from positions on a grid."""
    facts = [babi._SHAPE.match(s).groups() for s in sentences]
    at = {facts[0][1]: (0, 0)}
    for _ in sentences:
        for _, a, _, relation, b, _ in facts:
            dx, dy = STEP[relation]
            if a in at:
                at.setdefault(b, (at[a][0] - dx, at[a][1] - dy))
            elif b in at:
                at[a] = (at[b][0] + dx, at[b][1] + dy)
    _, a, _, relation, b, _ = babi._SHAPE.match(question).groups()
    dx, dy = STEP[relation]
    return "yes" if (at[a][0] - at[b][0]) * dx + (at[a][1] - at[b][1]) * dy > 0 else "no"


def solve_task3(sentences: list[str], question: str) -> str:
    """Where the thing was before its most recent stay in the room asked about."""
    words = question.rstrip("?").split()
    thing, room = words[3], words[-1]
    where: dict[str, str] = {}
    holder: str | None = None
    stays: list[str] = []
    for sentence in sentences:
        parts = sentence.rstrip(".").split()
        person, moved = parts[0], parts[-1] in babi.ROOMS
        if moved:
            where[person] = parts[-1]
        elif thing in parts:
            taken = parts[1] in ("took", "got", "grabbed", "picked")
            holder = person if taken else None
        here = where.get(holder or "")
        if here and (not stays or stays[-1] != here):
            stays.append(here)
    last = max(i for i in range(1, len(stays)) if stays[i] == room)
    return stays[last - 1]


def check_stories(folder: str) -> None:
    real = babi.read_task(folder, 17, "train")
    for name, stories in (("read", real), ("varied", babi.vary_task17(real, 1, 1)), ("aligned", babi.aligned_task17(real, 1, 1))):
        wrong = sum(solve_task17(s.sentences[: q.prefix], q.text) != q.answer for s in stories for q in s.questions)
        assert wrong == 0, f"task 17, {name}: {wrong} wrong answers"
    for name, stories in (("generated", babi.generate_task3(100, 5)), ("test file", babi.read_task(folder, 3, "test"))):
        pairs = [(solve_task3(s.sentences[: q.prefix], q.text), q.answer) for s in stories for q in s.questions]
        wrong = sum(a != b for a, b in pairs)
        assert wrong == 0, f"task 3, {name}: {wrong} of {len(pairs)} wrong answers"
    print("stories: the answers of tasks 3 and 17 follow from their sentences")


def check_contexts(cache: str, tokenizer) -> None:
    pool = Pool(cache, "train", "cpu")
    torch.manual_seed(0)
    index = torch.randint(len(pool.task), (200,))
    titled = torch.rand(200) < 0.7
    fill = torch.where(torch.rand(200) < 0.5, 1024, 0)
    batch = assemble(pool, index, 2048, titled, fill)
    read = lambda ids: tokenizer.decode(ids.tolist())
    for i in range(200):
        e, row = index[i], batch.tokens[i]
        own = pool.flat[pool.base[e]: pool.base[e] + pool.length[e]]
        story = row[batch.in_story[i]]
        assert torch.equal(story[5 if titled[i] else 0:], own), "the asked story is not whole"
        length = int((row > 0).sum())
        assert row[length - 1] == EOS and (row[length:] == 0).all(), "the end is not in its place"
        question, context = read(row[: length - 1]).split(f" {SEPARATOR} ")
        if titled[i]:
            title = question.split(",")[0].removeprefix("in ")
            assert context.count(f"({title})") == 1, "the asked title is not alone"
        if fill[i]:
            assert max(1024 - 12, 0) <= length <= max(1024, int(pool.total[e])), f"{length} tokens"
        facts = [f for f in pool.facts[e].tolist() if f >= 0]
        want = torch.isin(pool.sentence_of[pool.base[e]: pool.base[e] + pool.length[e]], torch.tensor(facts))
        assert torch.equal(row[batch.is_fact[i]], own[want]), "the facts are not marked"
    renamed = assemble(pool, (pool.task == 17).nonzero()[:200, 0], 64, torch.zeros(200, dtype=torch.bool),
                       torch.zeros(200, dtype=torch.long), renaming=1.0)
    counts = collections.Counter()
    for row, answer in zip(renamed.tokens, renamed.answer):
        question, context = read(row[row > 1]).split(f" {SEPARATOR} ")
        sentences = [s.strip() + "." for s in context.split(".") if s.strip()]
        counts[solve_task17(sentences, question) == read(answer)] += 1
    assert counts[False] == 0, f"renaming changed {counts[False]} answers"
    print("contexts: story, title, facts, end and renaming are right")


def check_model(cache: str) -> None:
    config = M.Config(encoder_layers=2, story_layer=1, decoder_layers=1)
    torch.manual_seed(1)
    p = M.initial(config, "cpu")
    index = M.encoder_position_index(config, 40, "cpu")
    at = torch.arange(40)
    direct = p["encoder_bias"][M.bucket(at[None] - at[:, None], True, config.buckets, config.max_distance)].permute(2, 0, 1)
    assert torch.equal(M.toeplitz(p["encoder_bias"], index), direct), "the relative bias is wrong"
    pool = Pool(cache, "valid", "cpu")
    batch = assemble(pool, torch.arange(4), 128, torch.ones(4, dtype=torch.bool), torch.full((4,), 100))
    fn = M.Functions(compiled=False)
    index = M.encoder_position_index(config, 128, "cpu")
    plain = M.encode(p, config, fn, batch.tokens, index, torch.float32)[0]
    fused = M.encode(p, config, fn, batch.tokens, index, torch.float32, fused=True)[0]
    seen = batch.tokens > 0
    assert (plain - fused)[seen].abs().max() < 1e-4, "the fused attention differs"
    for v in p.values():
        v.grad = torch.zeros_like(v)
    optimizer = Optimizer(p, config.head_width, 0.01, 0.003, 0.1)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(folder, p, optimizer, {"steps": 7, "elapsed": 1.0, "share": 0.1, "weights": [1.0]}, config)
        q = M.initial(config, "cpu")
        state = checkpoint.load(folder, q, Optimizer(q, config.head_width, 0.01, 0.003, 0.1))
        assert state["steps"] == 7 and all(torch.equal(p[k], q[k]) for k in p), "a checkpoint does not come back"
    print("model: bias, fused attention and checkpoints are right")


def check_export(folder: str, cache: str) -> None:
    from safetensors.torch import load_file
    from transformers import T5ForConditionalGeneration

    theirs = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    config = M.Config()
    p = {k: torch.zeros_like(v) for k, v in M.initial(config, "cpu").items()}
    stored = load_file(os.path.join(folder, "model.safetensors"))
    for name, view in M.to_hugging_face(p, config).items():
        view.copy_(stored[name].float())
    pool = Pool(cache, "test", "cpu")
    torch.manual_seed(2)
    batch = assemble(pool, torch.randint(len(pool.task), (6,)), 512, torch.ones(6, dtype=torch.bool), torch.full((6,), 400))
    with torch.no_grad():
        memory, _, hidden = M.encode(p, config, M.Functions(False), batch.tokens, M.encoder_position_index(config, 512, "cpu"), torch.float32)
        ours = M.decode(p, config, M.Functions(False), memory, hidden, batch.answer)
        want = theirs(input_ids=batch.tokens, attention_mask=(batch.tokens > 0).long(),
                      decoder_input_ids=torch.nn.functional.pad(batch.answer[:, :-1], (1, 0))).logits
    worst = (ours - want)[batch.answer > 0].abs().max().item()
    assert worst < 1e-4, f"logits differ from transformers by {worst}"
    print(f"export: logits agree with transformers within {worst:.1e}")


def main() -> None:
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--model")
    args = parser.parse_args()
    check_stories(os.path.join(args.data, "babi/en-10k"))
    check_contexts(args.cache, Tokenizer.from_file(os.path.join(args.cache, "tokenizer.json")))
    check_model(args.cache)
    if args.model:
        check_export(args.model, args.cache)


if __name__ == "__main__":
    main()
