"""Training steps of the encoder of packages/bench-kit/src/encoder.ts in torch: equal weights, equal batches.

python3 torch_training.py MODEL BATCH TOKENS[,TOKENS] STEPS LOSSES [RATE [DEVICE [THREADS [K [ROUNDING]]]]]

Prints one JSON object a line. RATE is 1e-3 by default, DEVICE cuda (or cpu, which leaves bf16 out). THREADS 0 leaves
torch its own number. With K above 0, top-k attention composed of matmul, topk, softmax and matmul is measured as well.
With ROUNDING 1, two more columns say what rounding does to losses: f64, and f32 from weights each of which is the next
number of f32 above or below, in turn.
"""
import json
import math
import sys
import time

import numpy
import torch
import torch.nn.functional as F

MODELS = {"small": (2, 64, 2, 128), "base": (12, 768, 12, 3072)}
VOCABULARY, CLASSES = 256, 10
WORD = 0xFFFFFFFF
RATE = float(sys.argv[6]) if len(sys.argv) > 6 else 1e-3
DEVICE = sys.argv[7] if len(sys.argv) > 7 else "cuda"


def parameters_of(model, tokens, dtype=torch.float32, nudged=False):
    layers, width, _, hidden = MODELS[model]
    made, salt = {}, 0

    def weight(name, shape, scale):
        nonlocal salt
        salt += 1
        index = numpy.arange(math.prod(shape), dtype=numpy.float64)
        made[name] = numpy.sin(index * 12.9898 + salt * 78.233).reshape(shape) * scale

    def projection(name, start, end):
        weight(f"{name}.weight", [start, end], 1 / math.sqrt(start))
        made[f"{name}.bias"] = numpy.zeros(end)

    def norm(name):
        made[f"{name}.weight"] = numpy.ones(width)
        made[f"{name}.bias"] = numpy.zeros(width)

    weight("tokens.weight", [VOCABULARY, width], 0.5)
    weight("positions.weight", [tokens, width], 0.5)
    for layer in range(layers):
        norm(f"layers.{layer}.norm1")
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"]:
            projection(f"layers.{layer}.{name}", width, width)
        norm(f"layers.{layer}.norm2")
        projection(f"layers.{layer}.linear1", width, hidden)
        projection(f"layers.{layer}.linear2", hidden, width)
    norm("norm")
    projection("classifier", width, CLASSES)
    def stored(value):
        rounded = value.astype(numpy.float32)
        if nudged:
            up = numpy.arange(rounded.size).reshape(rounded.shape) % 2 == 0
            rounded = numpy.nextafter(rounded, numpy.where(up, numpy.inf, -numpy.inf).astype(numpy.float32))
        return torch.tensor(rounded, device=DEVICE).to(dtype).requires_grad_()

    return {name: stored(value) for name, value in made.items()}


def multiply(a, b):
    return (a * b) & WORD


def random(index, step):
    mixed = multiply(index ^ multiply(step, 0x9E3779B1), 0x85EBCA6B)
    # The sign of the product does not matter: shifts are unsigned.
    return multiply(mixed ^ (mixed >> 13), 0xC2B2AE35) ^ (mixed >> 16)


def batch_of(batch, tokens, step, dtype=torch.float32):
    index = numpy.arange(batch * tokens, dtype=numpy.uint64)
    ids = (random(index, step) % VOCABULARY).astype(numpy.int64).reshape(batch, tokens)
    rows = numpy.arange(batch, dtype=numpy.uint64) + numpy.uint64(1_000_003)
    lengths = tokens // 2 + (random(rows, step) % (tokens // 2)).astype(numpy.int64) + 1
    valid = numpy.arange(tokens)[None, :] < lengths[:, None]
    pooling = valid / lengths[:, None]
    targets = ids[:, 0] % CLASSES
    there = lambda x, dtype: torch.tensor(x, dtype=dtype, device=DEVICE)
    return (
        there(ids, torch.long),
        there(valid, torch.bool)[:, None, None, :],
        there(pooling, torch.float32)[..., None].to(dtype),
        there(targets, torch.long),
    )


def top_k_attention(q, k, v, mask, kept):
    scores = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).masked_fill(~mask, -math.inf)
    values, places = scores.topk(min(kept, scores.shape[-1]), sorted=False)
    return torch.zeros_like(scores).scatter(-1, places, values.softmax(-1)) @ v


def loss_of(p, model, ids, mask, pooling, targets, kept):
    layers, width, heads, _ = MODELS[model]
    project = lambda x, name: x @ p[f"{name}.weight"] + p[f"{name}.bias"]
    norm = lambda x, name: F.layer_norm(x, [width], p[f"{name}.weight"], p[f"{name}.bias"])
    split = lambda x: x.unflatten(-1, [heads, width // heads]).transpose(1, 2)
    x = F.embedding(ids, p["tokens.weight"]) + p["positions.weight"]
    for layer in range(layers):
        name = f"layers.{layer}."
        before = norm(x, name + "norm1")
        q, k, v = (split(project(before, name + part)) for part in ["q_proj", "k_proj", "v_proj"])
        if kept:
            attended = top_k_attention(q, k, v, mask, kept)
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + project(attended.transpose(1, 2).flatten(2), name + "out_proj")
        x = x + project(F.gelu(project(norm(x, name + "norm2"), name + "linear1")), name + "linear2")
    pooled = (norm(x, "norm") * pooling).sum(1)
    logits = project(pooled, "classifier")
    return F.cross_entropy(logits.float() if logits.dtype == torch.bfloat16 else logits, targets)


def run(model, batch, tokens, steps, compared, rate, bf16, kept, dtype, nudged):
    p = parameters_of(model, tokens, dtype, nudged)
    batches = [batch_of(batch, tokens, i, dtype) for i in range(4)]
    optimizer = torch.optim.AdamW(p.values(), lr=rate, fused=True)

    def step(index):
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=bf16):
            loss = loss_of(p, model, *batches[index % 4], kept)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    wait = torch.cuda.synchronize if DEVICE == "cuda" else lambda: None
    losses = [step(index).item() for index in range(compared)]
    wait()
    start = time.perf_counter()
    for index in range(steps):
        step(compared + index)
    wait()
    return (time.perf_counter() - start) * 1000 / steps, losses


def main():
    model, batch, tokens, steps, compared = sys.argv[1:6]
    threads, kept, rounding = (int(one) for one in (sys.argv[8:11] + ["0"] * 3)[:3])
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    columns = [("f32", False, 0, torch.float32, False)]
    if DEVICE == "cuda":
        columns.append(("bf16", True, 0, torch.float32, False))
    if kept:
        columns.append((f"top-k {kept}", False, kept, torch.float32, False))
    if rounding:
        columns.append(("f64", False, 0, torch.float64, False))
        columns.append(("f32 nudged", False, 0, torch.float32, True))
    for length in map(int, tokens.split(",")):
        for column, *how in columns:
            ms, losses = run(model, int(batch), length, int(steps), int(compared), RATE, *how)
            line = {"column": column, "tokens": length, "ms": ms, "losses": losses, "torch": torch.__version__}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
