"""Trains the model. Time, not steps, is the budget: rate and context length follow the share of the schedule that has passed.

    python train.py --cache CACHE --out OUT --minutes 9 [--share-to 0.5] [--resume OUT]

Resumes from the pieces it leaves in OUT (each under 15 MiB): weights in f32, their running average in f16, the clock.
Several GPUs: torchrun --nproc-per-node=2 train.py ...
"""
from __future__ import annotations

import argparse
import json
import os
import time

import torch

import checkpoint
import model as M
from data import Pool, assemble, draw_examples
from evaluate import evaluate
from optim import Optimizer

# (share of the schedule from which the mix holds, {(kind, length): share of the steps}). Kind `plain` has no filling.
PHASES = [
    (0.00, {("plain", 128): 0.80, ("plain", 256): 0.20}),
    (0.12, {("plain", 128): 0.45, ("plain", 256): 0.20, ("plain", 512): 0.10, ("fill", 256): 0.25}),
    (0.22, {("plain", 128): 0.25, ("plain", 256): 0.15, ("plain", 512): 0.10, ("fill", 256): 0.25, ("fill", 512): 0.25}),
    (0.35, {("plain", 128): 0.20, ("plain", 256): 0.12, ("plain", 512): 0.10, ("plain", 1024): 0.03, ("fill", 256): 0.15,
            ("fill", 512): 0.20, ("fill", 1024): 0.20}),
    (0.48, {("plain", 128): 0.17, ("plain", 256): 0.12, ("plain", 512): 0.10, ("plain", 1024): 0.04, ("fill", 256): 0.12,
            ("fill", 512): 0.15, ("fill", 1024): 0.17, ("fill", 2048): 0.13}),
    (0.60, {("plain", 128): 0.16, ("plain", 256): 0.11, ("plain", 512): 0.09, ("plain", 1024): 0.04, ("fill", 256): 0.10,
            ("fill", 512): 0.14, ("fill", 1024): 0.16, ("fill", 2048): 0.12, ("fill", 4096): 0.08}),
]

# A second pass over a trained checkpoint: very short stories for the tasks that lag, then the long mix again.
SECOND_PASS = [
    (0.00, {("plain", 64): 0.70, ("plain", 128): 0.10, ("plain", 256): 0.06, ("fill", 256): 0.06, ("fill", 1024): 0.08}),
    (0.40, {("plain", 64): 0.13, ("plain", 128): 0.09, ("plain", 256): 0.09, ("plain", 512): 0.09, ("plain", 1024): 0.04,
            ("fill", 256): 0.08, ("fill", 512): 0.11, ("fill", 1024): 0.14, ("fill", 2048): 0.12, ("fill", 4096): 0.11}),
]


def rate_at(progress: float, flat_until: float) -> float:
    """Flat, then linear to zero."""
    return 1.0 if progress < flat_until else max(0.0, (1 - progress) / (1 - flat_until))


class Step:
    """One captured training step for one length: forward and backward into the shared gradient buffer."""

    def __init__(self, p, config: M.Config, fn: M.Functions, length: int, rows: int, args, device: str, graph_pool) -> None:
        self.length, self.rows = length, rows
        on_gpu = device.startswith("cuda")
        dtype = torch.bfloat16 if on_gpu else torch.float32
        index = M.encoder_position_index(config, length, device)
        self.buffers = [torch.zeros(rows, length, dtype=torch.long, device=device),
                        torch.zeros(rows, length, dtype=torch.bool, device=device),
                        torch.zeros(rows, length, dtype=torch.bool, device=device),
                        torch.zeros(rows, 8, dtype=torch.long, device=device)]
        self.buffers[0][:, :8] = 5
        self.buffers[3][:, :2] = 5
        fused = args.fused_from > 0 and length >= args.fused_from

        def run():
            tokens, in_story, is_fact, answer = self.buffers
            memory, middle, hidden = M.encode(p, config, fn, tokens, index, dtype, fused=fused)
            logits = M.decode(p, config, fn, memory, hidden, answer)
            each, story, fact, right = fn.losses(p["auxiliary"], logits, memory, middle, tokens, in_story, is_fact, answer)
            loss = each.mean() + args.auxiliary * (story.mean() + fact.mean())
            loss.backward()
            return torch.stack([each.mean(), story.mean(), fact.mean(), right.float().mean()]).detach()

        self.graph = None
        if on_gpu:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    run()
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=graph_pool):
                self.report = run()
            for v in p.values():
                v.grad.zero_()
        self.run = run

    def __call__(self, batch) -> torch.Tensor:
        for buffer, value in zip(self.buffers, (batch.tokens, batch.in_story, batch.is_fact, batch.answer)):
            buffer.copy_(value)
        if self.graph is None:
            return self.run()
        self.graph.replay()
        return self.report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--resume")
    parser.add_argument("--minutes", type=float, default=9, help="wall clock of this call, compilation counted in")
    parser.add_argument("--share-from", type=float, help="where in the schedule this call begins (default: as the checkpoint says)")
    parser.add_argument("--share-to", type=float, default=1.0, help="where in the schedule it ends")
    parser.add_argument("--peak", type=float, default=1.0, help="largest learning rate, as a share of the rates below")
    parser.add_argument("--tokens", type=int, default=32768, help="tokens a step and GPU")
    parser.add_argument("--matrix-rate", type=float, default=0.008)
    parser.add_argument("--other-rate", type=float, default=0.004)
    parser.add_argument("--decay", type=float, default=0.1)
    parser.add_argument("--auxiliary", type=float, default=0.5)
    parser.add_argument("--flat-until", type=float, default=0.55)
    parser.add_argument("--renaming", type=float, default=0.7)
    parser.add_argument("--fused-from", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report-seconds", type=float, default=20)
    parser.add_argument("--evaluate-seconds", type=float, default=60)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--second-pass", action="store_true", help="use the mix of a second pass")
    parser.add_argument("--boost", default="", help="task:factor pairs that multiply a task's share, for example 17:3")
    parser.add_argument("--mix", default="", help="fixed mix for timing, for example fill:1024,fill:4096")
    parser.add_argument("--small", action="store_true", help="a toy size for dry runs")
    args = parser.parse_args()

    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = "cpu"
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
        device = f"cuda:{rank}"
    if world > 1:
        torch.distributed.init_process_group("nccl")
    on_gpu = device != "cpu"
    say = (lambda *a: print(*a, flush=True)) if rank == 0 else (lambda *a: None)
    begin = time.time()
    torch.backends.cuda.matmul.allow_tf32 = True
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.accumulated_recompile_limit = 512

    config = M.Config(encoder_layers=3, story_layer=2, decoder_layers=1) if args.small else M.Config()
    torch.manual_seed(args.seed)
    p = M.initial(config, device)
    optimizer = Optimizer(p, config.head_width, args.matrix_rate, args.other_rate, args.decay)
    state = {"elapsed": 0.0, "share": 0.0, "steps": 0, "weights": [0.0] + [1.0] * 20, "accuracy": {}}
    if args.resume:
        state = checkpoint.load(args.resume, p, optimizer)
    say("parameters", sum(v.numel() for v in p.values()), "resumed at", state["elapsed"], "s, step", state["steps"])
    flat = torch.zeros(sum(v.numel() for v in p.values()), device=device)
    at = 0
    for v in p.values():
        v.grad = flat[at: at + v.numel()].view_as(v)
        at += v.numel()
    torch.manual_seed(args.seed * 1000 + state["steps"] + rank)

    pool, valid = Pool(args.cache, "train", device), Pool(args.cache, "valid", device)
    fn = M.Functions(compiled=on_gpu)
    steps: dict[int, Step] = {}
    lists: dict[tuple[str, int], tuple] = {}
    graph_pool = torch.cuda.graph_pool_handle() if on_gpu else None
    average_decay = torch.zeros((), device=device)
    optimizer_graph = None
    wanted = {int(t) for t in args.tasks.split(",") if t}
    task_mask = torch.tensor([float(t in wanted or not wanted) for t in range(21)], device=device)
    for pair in filter(None, args.boost.split(",")):
        task_mask[int(pair.split(":")[0])] *= float(pair.split(":")[1])
    weights = torch.tensor(state["weights"], device=device) * task_mask
    weights[0] = 0
    share_from = state.get("share", 0.0) if args.share_from is None else args.share_from
    base, first_step, lost = state["elapsed"], state["steps"], 0.0
    last_report, last_evaluation, since = time.time(), time.time(), 0
    sums: dict[tuple[str, int], list] = {}
    chooser = torch.Generator().manual_seed(args.seed + state["steps"])  # the same on every rank
    stop = False

    while not stop:
        running = time.time() - begin
        if world > 1:  # every rank follows the first one's clock
            if state["steps"] % 8 == 0 or state["steps"] == first_step:
                shared = torch.tensor([running], device=device, dtype=torch.float64)
                torch.distributed.broadcast(shared, 0)
                agreed = shared.item()
            running = agreed
        elapsed = base + running
        passed = running / (60 * args.minutes)
        progress = share_from + (args.share_to - share_from) * min(1.0, passed)
        stop = passed >= 1
        mix = [m for since_share, m in (SECOND_PASS if args.second_pass else PHASES) if progress >= since_share][-1]
        if args.mix:
            mix = {(m.split(":")[0], int(m.split(":")[1])): 1.0 for m in args.mix.split(",")}
        kinds = list(mix)
        kind = kinds[torch.multinomial(torch.tensor(list(mix.values())), 1, generator=chooser).item()]
        name, length = kind
        rows = max(1, args.tokens // length)
        if length not in steps:
            t = time.time()
            steps[length] = Step(p, config, fn, length, rows, args, device, graph_pool)
            if on_gpu:
                torch.cuda.synchronize()
            lost += time.time() - t
            say(f"length {length}: {rows} rows, ready after {time.time() - t:.1f} s")
        if kind not in lists:
            lists[kind] = pool.by_task(0 if length <= 128 else length // 2, length) if name == "plain" else \
                pool.by_task(0, int(length * 0.9))
        optimizer.rate.fill_(args.peak * rate_at(progress, args.flat_until) * min(1.0, (state["steps"] - first_step + 1) / 300))
        average_decay.fill_(min(0.999, (state["steps"] + 1) / (state["steps"] + 10)))
        index = draw_examples(lists[kind], weights, rows)
        if name == "plain":
            titled, fill = torch.rand(rows, device=device) < 0.5, torch.zeros(rows, dtype=torch.long, device=device)
        else:
            titled = torch.rand(rows, device=device) < 0.8
            fill = torch.where(torch.rand(rows, device=device) < 0.5, length,
                               (length * (0.5 + 0.5 * torch.rand(rows, device=device))).long())
        batch = assemble(pool, index, length, titled, fill, args.renaming)
        report = steps[length](batch)
        if world > 1:
            torch.distributed.all_reduce(flat, op=torch.distributed.ReduceOp.AVG)
        if not on_gpu:
            optimizer.step(average_decay)
        elif optimizer_graph is None:
            t = time.time()
            optimizer.step(average_decay)  # warm-up; a real step; capturing executes nothing
            torch.cuda.synchronize()
            optimizer_graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(optimizer_graph):
                optimizer.step(average_decay)
            lost += time.time() - t
        else:
            optimizer_graph.replay()
        state["steps"] += 1
        since += 1
        entry = sums.setdefault(kind, [torch.zeros(4, device=device), 0])
        entry[0] += report
        entry[1] += 1
        now = time.time()
        if state["steps"] % 20 == 0 and now - last_report > args.report_seconds:
            if on_gpu:
                torch.cuda.synchronize()
            say(f"step {state['steps']} at {elapsed:.0f} s ({progress:.2f}), {1000 * (time.time() - last_report) / since:.1f} ms/step, rate "
                f"{optimizer.rate.item():.3f}, gradient {optimizer.norm.item():.2f} | " + " | ".join(
                    f"{k[0]} {k[1]}: " + " ".join(f"{x:.3f}" for x in (v[0] / v[1]).tolist()) for k, v in sums.items()))
            sums, last_report, since = {}, time.time(), 0
        due = state["steps"] % 20 == 0 and now - last_evaluation > args.evaluate_seconds
        if world > 1:  # every rank must take the same branch
            flag = torch.tensor([float(due)], device=device)
            if state["steps"] % 20 == 0:
                torch.distributed.broadcast(flag, 0)
                due = bool(flag.item())
            else:
                due = False
        if due or stop:
            t = time.time()
            with torch.no_grad():
                result = evaluate(optimizer.average, config, valid, device, per_task=100, fill=0)
                for task, value in result.items():
                    weights[task] = (0.25 + min(1.0, 2 * (1 - value))) * task_mask[task]
                say("valid", f"{100 * sum(result.values()) / len(result):.1f}", " ".join(f"{k}:{100 * v:.0f}" for k, v in result.items()))
                if progress > 0.3:
                    filled = evaluate(optimizer.average, config, valid, device, per_task=40, fill=1024)
                    say("valid 1024", f"{100 * sum(filled.values()) / len(filled):.1f}", " ".join(f"{k}:{100 * v:.0f}" for k, v in filled.items()))
            state["weights"], state["elapsed"], state["share"] = weights.tolist(), elapsed, progress
            if rank == 0:
                checkpoint.save(args.out, p, optimizer, state, config)
            lost += time.time() - t
            last_evaluation = time.time()
            last_report, since = time.time(), 0
    say("done", json.dumps({"steps": state["steps"], "elapsed": state["elapsed"], "wall": time.time() - begin, "lost": lost}))
    if world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
