"""Exact match of the greedy answer, per task and context length.

Teacher forcing suffices: greedy decoding gives the wanted answer exactly when every next-token argmax, given the wanted
prefix, is the wanted token.

    python evaluate.py --cache CACHE --checkpoint OUT [--lengths 0,512,1024,2048,4096] [--per-task 1000] [--json FILE]
"""
from __future__ import annotations

import argparse
import json
import time

import torch

import checkpoint
import model as M
from data import Pool, assemble

PLAIN = M.Functions(compiled=False)


@torch.no_grad()
def evaluate(p, config: M.Config, pool: Pool, device: str, per_task: int, fill: int, titled: bool = True, seed: int = 7,
             attention_k: int = 0, feed_forward_k: int = 0, tokens: int = 131072) -> dict[int, float]:
    """Task -> share right. fill 0: the story alone (titled or not); otherwise the total number of tokens."""
    on_gpu = device != "cpu"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    p = {k: v.detach() for k, v in p.items()}
    saved = torch.get_rng_state(), (torch.cuda.get_rng_state(device) if on_gpu else None)
    torch.manual_seed(seed)
    picked = []
    for task in range(1, 21):
        own = (pool.task == task).nonzero()[:, 0].cpu()
        picked.append(own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))[:per_task]])
    index = torch.cat(picked).to(device)
    need = pool.total[index].clamp(min=fill)
    right = torch.zeros(21, device=device)
    count = torch.zeros(21, device=device)
    lengths = sorted({length for length in (64, 128, 256, 512, 1024, 1536, 2048, 4096)})
    for low, high in zip([0] + lengths[:-1], lengths):
        group = index[(need > low) & (need <= high)]
        if not len(group):
            continue
        position_index = M.encoder_position_index(config, high, device)
        for rows in group.split(max(1, tokens // high)):
            flags = torch.full((len(rows),), titled, device=device)
            batch = assemble(pool, rows, high, flags, torch.full((len(rows),), fill, device=device))
            memory, middle, hidden = M.encode(p, config, PLAIN, batch.tokens, position_index, dtype, attention_k, feed_forward_k,
                                              fused=on_gpu)
            logits = M.decode(p, config, PLAIN, memory, hidden, batch.answer, attention_k, feed_forward_k)
            good = ((logits.argmax(-1) == batch.answer) | (batch.answer == 0)).all(1)
            right.index_add_(0, batch.task, good.float())
            count.index_add_(0, batch.task, torch.ones_like(good, dtype=torch.float))
    torch.set_rng_state(saved[0])
    if on_gpu:
        torch.cuda.set_rng_state(saved[1], device)
    return {t: (right[t] / count[t]).item() for t in range(1, 21) if count[t] > 0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--lengths", default="0,512,1024,2048,4096")
    parser.add_argument("--per-task", type=int, default=1000)
    parser.add_argument("--top-k", default="", help="pairs attention:feed_forward, for example 64:64,16:64")
    parser.add_argument("--json")
    args = parser.parse_args()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    p, config, _ = checkpoint.load_average(args.checkpoint)
    p = {k: v.to(device) for k, v in p.items()}
    pool = Pool(args.cache, args.split, device)
    table: dict[str, dict[int, float]] = {}

    def add(name: str, **options) -> None:
        start = time.time()
        table[name] = evaluate(p, config, pool, device, **options)
        values = list(table[name].values())
        print(f"{name}: mean {100 * sum(values) / len(values):.2f} in {time.time() - start:.0f} s | "
              + " ".join(f"{t}:{100 * v:.1f}" for t, v in table[name].items()), flush=True)
        if args.json:
            with open(args.json, "w") as handle:
                json.dump(table, handle)

    add("plain", per_task=args.per_task, fill=0, titled=False)
    for length in (int(x) for x in args.lengths.split(",")):
        add("titled" if length == 0 else str(length), per_task=args.per_task, fill=length)
    for pair in filter(None, args.top_k.split(",")):
        a, f = (int(x) for x in pair.split(":"))
        for length in (0, 1024):
            add(f"top-k attention {a}, feed-forward {f}, {length or 'titled'}", per_task=min(50, args.per_task), fill=length,
                attention_k=a, feed_forward_k=f, tokens=16384)


if __name__ == "__main__":
    main()
