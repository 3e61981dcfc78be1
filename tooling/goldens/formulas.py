"""The paper's formulas in float64, written to be read and not to be fast: one row at a time, gradients by autograd.

`attention` and `feed_forward` are the definitions. `attention_dense` computes the same thing in another way (mask all
but the top k to -inf, then softmax over the full matrix); generate.py holds one against the other.
"""

import math

import numpy as np
import torch

from philox import dropout_threshold, random_bits, seed_words

F64 = torch.float64
INF = math.inf


def relative_buckets(relative, buckets, bidirectional, max_distance):
    """T5's bucket of a relative position (key minus query); integers in, integers out."""
    relative = np.asarray(relative, np.int64)
    result = np.zeros_like(relative)
    if bidirectional:
        buckets //= 2
        result = np.where(relative > 0, buckets, 0)
        distance = np.abs(relative)
    else:
        distance = np.maximum(-relative, 0)
    exact = buckets // 2
    ratio = np.log(np.maximum(distance, 1) / exact) / math.log(max_distance / exact)
    large = np.minimum(exact + (ratio * (buckets - exact)).astype(np.int64), buckets - 1)
    return result + np.where(distance < exact, distance, large)


def scores_of(x, options):
    """scale * q.k + bias + relativeBias: [B, Hq, Lq, Lk]. Query head h reads key head h // (Hq / Hkv)."""
    q, k = x["q"], x["k"]
    lq, lk = q.shape[2], k.shape[2]
    keys = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scale = options.get("scale", q.shape[3] ** -0.5)
    scores = scale * (q.unsqueeze(3) * keys.unsqueeze(2)).sum(-1)
    if "bias" in x:
        scores = scores + x["bias"]
    if "relativeBiasTable" in x:
        table, spec = x["relativeBiasTable"], options["relativeBias"]
        # Positions are aligned to the end: the last query stands at the last key.
        relative = np.arange(lk)[None, :] - (np.arange(lq)[:, None] + lk - lq)
        bucket = relative_buckets(relative, table.shape[0], spec["bidirectional"], spec["maxDistance"])
        scores = scores + table[torch.from_numpy(bucket)].permute(2, 0, 1).unsqueeze(0)
    return scores


def visible_keys(x, options, shape):
    """What mask, lengths and causality allow, as a numpy boolean [B, Hq, Lq, Lk]."""
    b, _, lq, lk = shape
    visible = np.ones(shape, bool)
    if "mask" in x:
        visible &= np.broadcast_to(x["mask"].numpy(), shape)
    if "keyLengths" in x:
        visible &= (np.arange(lk)[None, :] < x["keyLengths"].numpy()[:, None]).reshape(b, 1, 1, lk)
    if options.get("causal"):
        visible &= np.arange(lk)[None, :] <= np.arange(lq)[:, None] + (lk - lq)
    return visible


def keep_largest(scores, candidates, k):
    """The k largest candidates, the lower index first among equals; in ascending order of index."""
    return sorted(sorted(candidates, key=lambda j: (-scores[j], j))[:k])


def gap_of(scores, kept, candidates):
    """How far the lowest score kept lies above the highest left out; infinite if they are equal or nothing is left out."""
    lowest = min(float(scores[j]) for j in kept)
    highest = max((float(scores[j]) for j in set(candidates) - set(kept)), default=-INF)
    return lowest - highest if lowest > highest else INF


def attention(x, options):
    """topKAttention with options['k'], exactAttention without. Returns out, indices (None if exact), smallest gap.

    The gap is the distance between the last score kept and the first one left out, over rows where they differ.
    """
    top_k = options.get("k")
    scores = scores_of(x, options)
    values = scores.detach().numpy()
    b, h, lq, lk = scores.shape
    v = x["v"]
    group = h // v.shape[1]
    visible = visible_keys(x, options, values.shape)
    dropout = options.get("dropout")
    gap = INF
    rows, indices = [], np.full((b, h, lq, min(top_k or 0, lk)), -1, np.int32)
    for bi, hi, qi in np.ndindex(b, h, lq):
        row = values[bi, hi, qi]
        valid = [j for j in range(lk) if visible[bi, hi, qi, j] and row[j] != -INF]
        if not valid:
            rows.append(torch.zeros(v.shape[3], dtype=F64))
            continue
        if any(math.isnan(row[j]) for j in valid):
            rows.append(torch.full((v.shape[3],), math.nan, dtype=F64))
            continue
        kept = valid if top_k is None else keep_largest(row, valid, top_k)
        if top_k is not None:
            indices[bi, hi, qi, : len(kept)] = kept
            gap = min(gap, gap_of(row, kept, valid))
        weights = torch.softmax(scores[bi, hi, qi, kept], 0)
        if dropout:
            slots = kept if top_k is None else range(len(kept))
            bits = np.array([random_bits(seed_words(dropout["seed"]), (bi, hi, qi, slot), ()) for slot in slots])
            survives = torch.from_numpy((bits >= dropout_threshold(dropout["rate"])).astype(np.float64))
            weights = weights * survives / (1.0 - dropout["rate"])
        rows.append(weights @ v[bi, hi // group, kept])
    out = torch.stack(rows).reshape(b, h, lq, v.shape[3])
    return out, (None if top_k is None else indices), gap


def attention_dense(x, options):
    """The second opinion, for finite inputs: full matrices, all but the top k set to -inf."""
    scores = scores_of(x, options)
    b, h, lq, lk = scores.shape
    visible = torch.from_numpy(visible_keys(x, options, tuple(scores.shape))) & (scores > -INF)
    top_k = options.get("k", lk)
    order = torch.sort(scores.detach().masked_fill(~visible, -INF), dim=-1, descending=True, stable=True).indices
    rank = torch.empty_like(order).scatter_(-1, order, torch.arange(lk).expand(order.shape).contiguous())
    keep = visible & (rank < top_k)
    shifted = torch.where(keep, scores, torch.full_like(scores, -INF))
    peak = shifted.detach().amax(-1, keepdim=True)
    numerator = torch.where(keep, torch.exp(torch.where(keep, scores - peak, torch.zeros_like(scores))), 0.0)
    total = numerator.sum(-1, keepdim=True)
    weights = numerator / torch.where(total > 0, total, torch.ones_like(total))
    dropout = options.get("dropout")
    if dropout:
        bits = random_bits(seed_words(dropout["seed"]), (0, 0, 0, 0), (b, h, lq, lk))
        if "k" in options:
            bits = np.take_along_axis(bits, np.maximum(np.cumsum(keep.numpy(), -1) - 1, 0), -1)
        survives = torch.from_numpy((bits >= np.uint32(dropout_threshold(dropout["rate"]))).astype(np.float64))
        weights = weights * survives / (1.0 - dropout["rate"])
    return weights @ x["v"].repeat_interleave(h // x["v"].shape[1], dim=1)


ACTIVATIONS = {
    "relu": torch.relu,
    "gelu": lambda s: 0.5 * s * (1.0 + torch.erf(s / math.sqrt(2.0))),
    "gelu_tanh": lambda s: 0.5 * s * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (s + 0.044715 * s**3))),
    "silu": lambda s: s * torch.sigmoid(s),
    "identity": lambda s: s,
}


def feed_forward(x, options):
    """topKFeedForward: tokens are queries, hidden units keys and values. Returns out, indices, smallest gap."""
    tokens = x["x"].reshape(-1, x["x"].shape[-1])
    top_k, activation = options["k"], ACTIVATIONS[options["activation"]]
    pre = tokens @ x["wIn"]
    if "bIn" in x:
        pre = pre + x["bIn"]
    hidden = activation(pre)
    if "wGate" in x:
        hidden = hidden * (tokens @ x["wGate"])
    if options["select"] == "contribution":
        rank = hidden.abs() * x["wOut"].norm(dim=1)
    else:
        rank = pre
    rank = rank.detach().numpy()
    width = pre.shape[1]
    gap, rows, indices = INF, [], np.full((tokens.shape[0], min(top_k, width)), -1, np.int32)
    for t in range(tokens.shape[0]):
        if np.isnan(rank[t]).any():
            rows.append(torch.full((x["wOut"].shape[1],), math.nan, dtype=F64))
            continue
        kept = keep_largest(rank[t], range(width), top_k)
        indices[t, : len(kept)] = kept
        gap = min(gap, gap_of(rank[t], kept, range(width)))
        row = hidden[t, kept] @ x["wOut"][kept]
        rows.append(row + x["bOut"] if "bOut" in x else row)
    lead = tuple(x["x"].shape[:-1])
    return torch.stack(rows).reshape(*lead, -1), indices.reshape(*lead, -1), gap


def feed_forward_dense(x, options):
    """The whole layer, no selection: what k >= width must give."""
    pre = x["x"] @ x["wIn"] + x.get("bIn", 0.0)
    hidden = ACTIVATIONS[options["activation"]](pre)
    if "wGate" in x:
        hidden = hidden * (x["x"] @ x["wGate"])
    return hidden @ x["wOut"] + x.get("bOut", 0.0)
