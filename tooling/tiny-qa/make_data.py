"""Writes the fixed evaluation lists and checks the sample document of apps/qa-demo/data.

    python make_data.py --cache CACHE --to ../../apps/qa-demo/data

babi-50.jsonl: 50 questions a task from the test files, the plain story as context. babi-50-1k.jsonl: the same questions,
the titled story in a context of 1,024 tokens, half other stories, half prose. Lines {id, task, question, context, answer}.
"""
from __future__ import annotations

import argparse
import json
import os

import torch

from data import Pool, assemble
from text import EOS, SEPARATOR


def main() -> None:
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--per-task", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(20261122)
    tokenizer = Tokenizer.from_file(os.path.join(args.cache, "tokenizer.json"))
    pool = Pool(args.cache, "test", "cpu")
    index = []
    for task in range(1, 21):
        own = (pool.task == task).nonzero()[:, 0]
        index.append(own[torch.randperm(len(own))[: args.per_task]].sort().values)
    index = torch.cat(index)
    first = {t: (pool.task == t).nonzero()[0, 0].item() for t in range(1, 21)}
    os.makedirs(args.to, exist_ok=True)
    for name, titled, fill, length in (("babi-50", False, 0, 1536), ("babi-50-1k", True, 1024, 2048)):
        with open(os.path.join(args.to, f"{name}.jsonl"), "w", encoding="utf-8") as handle:
            sizes, story_tokens = [], 0
            for row in index:
                batch = assemble(pool, row[None], length, torch.tensor([titled]), torch.tensor([fill]))
                ids = batch.tokens[0][batch.tokens[0] > 0].tolist()
                question, context = tokenizer.decode(ids[: ids.index(EOS)]).split(f" {SEPARATOR} ")
                answer = tokenizer.decode(batch.answer[0].tolist())
                task = batch.task[0].item()
                again = tokenizer.encode(f"{question} {SEPARATOR} {context}").ids
                # Only a last word cut in the middle may come back in other pieces.
                if abs(len(again) - len(ids)) > 12:
                    raise ValueError(f"{len(again)} tokens for {len(ids)}: {context[-200:]}")
                sizes.append(len(again))
                handle.write(json.dumps({"id": f"qa{task}-{row.item() - first[task]:04d}", "task": f"qa{task}", "question": question,
                                         "context": context, "answer": answer}, ensure_ascii=False) + "\n")
            print(name, len(sizes), "lines, tokens", min(sizes), "to", max(sizes), "mean", sum(sizes) / len(sizes))


if __name__ == "__main__":
    main()
