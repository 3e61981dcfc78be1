"""What a CUDA user would otherwise run, on the same GPU as the table of `gpu-table.mjs`.

The paper's method, composed of torch operations as its section on the implementation describes (queries in chunks of 1024,
scores, top-k, softmax over the kept ones, dense products from a scattered buffer; a backward pass from the saved lists with
dense buffers of one chunk), and torch's own attention. Random normal inputs, 12 heads of 64, k 128, causal.

python3 torch_baselines.py [row,row,...]     prints one JSON object a line; rows as in table-rows.ts
"""
import json
import sys

import torch
import torch.nn.functional as F

HEADS, DIM, KEPT, CHUNK = 12, 64, 128, 1024
SCALE = DIM**-0.5


def scores_of(q, k, start):
    """Scores of a chunk of queries, keys after a query hidden by the lowest number, as published."""
    dots = q @ k.transpose(-1, -2)
    hidden = torch.ones(dots.shape[-2:], dtype=torch.bool, device=q.device).triu_(1 + start)
    return dots.masked_fill_(hidden, -torch.finfo(dots.dtype).max)


class TopKChunk(torch.autograd.Function):
    """One chunk: keeps (score, index) lists for the backward pass and nothing as wide as the keys."""

    @staticmethod
    def forward(ctx, q, k, v, start):
        dots = scores_of(q, k, start)
        top, index = dots.topk(KEPT, dim=-1, sorted=False)
        weights = torch.softmax(top * SCALE, -1)
        ctx.save_for_backward(q, k, v, top, index)
        return dots.zero_().scatter_(-1, index, weights) @ v

    @staticmethod
    def backward(ctx, grad):
        q, k, v, top, index = ctx.saved_tensors
        buffer = grad @ v.transpose(-1, -2)
        d_weights = buffer.gather(-1, index)
        weights = torch.softmax(top * SCALE, -1)
        d_top = SCALE * weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True))
        buffer.zero_().scatter_(-1, index, weights)
        d_v = buffer.transpose(-1, -2) @ grad
        buffer.zero_().scatter_(-1, index, d_top)
        return buffer @ k, buffer.transpose(-1, -2) @ q, d_v, None


def paper(q, k, v):
    parts = [
        TopKChunk.apply(q[..., start : start + CHUNK, :], k, v, start) for start in range(0, q.shape[-2], CHUNK)
    ]
    return torch.cat(parts, dim=-2)


def sdpa(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def feed_forward_paper(x, w_in, w_out, kept, chunk=16384):
    out = torch.empty_like(x)
    for start in range(0, x.shape[0], chunk):
        dots = x[start : start + chunk] @ w_in
        top, index = dots.topk(kept, dim=-1, sorted=False)
        out[start : start + chunk] = dots.zero_().scatter_(-1, index, torch.relu(top)) @ w_out
    return out


def feed_forward_dense(x, w_in, w_out, _kept):
    return torch.relu(x @ w_in) @ w_out


def bench(run, rounds):
    """Median milliseconds after heating, and MiB beyond what was there before."""
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    base = torch.cuda.memory_allocated()
    clock = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    spent = 0.0
    while spent < 300:
        clock[0].record()
        run()
        clock[1].record()
        torch.cuda.synchronize()
        spent += clock[0].elapsed_time(clock[1])
    times = []
    for _ in range(rounds):
        clock[0].record()
        run()
        clock[1].record()
        torch.cuda.synchronize()
        times.append(clock[0].elapsed_time(clock[1]))
    return sorted(times)[len(times) // 2], (torch.cuda.max_memory_allocated() - base) / 2**20


def say(row, column, result, note=None):
    ms, mib = result
    line = {"id": row, "column": column, "ms": round(ms, 3), "mib": round(mib, 1)}
    if note:
        line["note"] = note
    print(json.dumps(line), flush=True)


def attention(row, column, run, length, dtype, training=False, rounds=20, note=None):
    q, k, v = (
        torch.randn(1, HEADS, length, DIM, device="cuda", dtype=dtype, requires_grad=training) for _ in range(3)
    )
    grad = torch.randn_like(q) if training else None

    def step():
        if not training:
            with torch.no_grad():
                return run(q, k, v)
        for one in (q, k, v):
            one.grad = None
        return run(q, k, v).backward(grad)

    result = bench(step, rounds)
    say(row, column, result, note)
    return result


def check():
    """The composed version against plain torch at a small size: forward and gradients."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 2048, DIM, device="cuda", requires_grad=True) for _ in range(3))
    dots = (q @ k.transpose(-1, -2)).masked_fill(
        torch.ones(2048, 2048, dtype=torch.bool, device="cuda").triu(1), float("-inf")
    )
    kept = dots.topk(KEPT, dim=-1)
    weights = torch.zeros_like(dots).scatter(-1, kept.indices, torch.softmax(kept.values * SCALE, -1))
    expected = weights @ v
    got = paper(q, k, v)
    grad = torch.randn_like(got)
    pairs = zip(torch.autograd.grad(expected, (q, k, v), grad), torch.autograd.grad(got, (q, k, v), grad))
    worst = max([(expected - got).abs().max().item(), *((a - b).abs().max().item() for a, b in pairs)])
    if not worst < 1e-2:
        raise SystemExit(f"the composed torch version is wrong by {worst}")
    print(f"torch composed against plain torch: {worst:.1e}", file=sys.stderr)


def main():
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU")
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}", file=sys.stderr)
    wanted = set(sys.argv[1].split(",")) if len(sys.argv) > 1 else None
    torch.backends.cuda.matmul.allow_tf32 = False
    check()
    for row, length, training, rounds in (
        ("forward-short", 16384, False, 20),
        ("forward-long", 65536, False, 5),
        ("training-short", 16384, True, 20),
        ("training-long", 65536, True, 3),
    ):
        if wanted and row not in wanted:
            continue
        extra = "extra-training" if training else "extra"
        result = attention(row, "paper", paper, length, torch.float32, training, rounds, f"{rounds} runs" if rounds < 20 else None)
        if length == 65536:
            say(extra, "paper", result)
        result = attention(row, "sdpa", sdpa, length, torch.float32, training, 20 if length < 65536 else 10)
        if length == 65536:
            say(extra, "sdpa", result)
        torch.cuda.empty_cache()
    if not wanted or "f16-short" in wanted:
        attention("f16-short", "paper", paper, 16384, torch.float16)
        attention("f16-short", "sdpa", sdpa, 16384, torch.float16, note="flash")
    if not wanted or "feed-forward" in wanted:
        tokens, dim, hidden, kept = 65536, 768, 16384, 512
        x, w_in, w_out = (
            torch.randn(shape, device="cuda") for shape in ((tokens, dim), (dim, hidden), (hidden, dim))
        )
        with torch.no_grad():
            say("feed-forward", "paper", bench(lambda: feed_forward_paper(x, w_in, w_out, kept), 20))
            say("feed-forward", "sdpa", bench(lambda: feed_forward_dense(x, w_in, w_out, kept), 20), "dense layer")


main()
