"""The grid for topKAttention and exactAttention: each line of the semantics, and acceptance anchors 1, 2, 3 and 4."""

import numpy as np

from cases import Case, lengths, qkv, random_attention
from philox import Draw

NAN, INF = np.nan, np.inf
# The largest seed: both words of the key set.
SEED_BOTH_WORDS = 2**53 - 1
CASES = []


def top_k(name, notes, k, options=None, extra=None, gradients=True, anchors=(), indices=True, file="", make=None,
          bounds=None, **shape):
    CASES.append(Case(name, "topKAttention", {"k": k, **(options or {})},
                      make or random_attention(file or name, extra, **shape), notes, gradients, list(anchors), file,
                      indices, bounds or {}))


def exact(name, notes, options=None, extra=None, gradients=True, anchors=(), file="", make=None, **shape):
    CASES.append(Case(name, "exactAttention", options or {}, make or random_attention(file or name, extra, **shape),
                      notes, gradients, list(anchors), file))


def both(name, notes, k, options=None, extra=None, **rest):
    top_k(f"top-k-{name}", notes, k, options, extra, **rest)
    rest.pop("indices", None)
    exact(f"exact-{name}", notes, options, extra, **rest)


def add(**roles):
    """Extra inputs from functions of the draw."""

    def extra(draw, x):
        for role, make in roles.items():
            x[role] = make(draw)

    return extra


def change(edit):
    return lambda draw, x: edit(x)


def mask_of(array):
    return add(mask=lambda draw: np.array(array, bool))


def bias_shape(*shape):
    return add(bias=lambda draw: draw.uniform(*shape))


# --- anchor 1: chunking never changes the result -----------------------------------------------------------------------
for chunk in (1, 3, 5, 13, 64):
    exact(f"anchor-1-exact-chunk-{chunk}", "13 queries in chunks of any size, dividing them or not", {"queryChunk": chunk},
          anchors=[1], file="anchor-1-exact", b=2, h=2, lq=13, lk=11, d=4, dv=6)
for chunk in (1, 4, 64):
    exact(f"anchor-1-exact-causal-chunk-{chunk}", "causal with a key length; the mask is rebuilt from the chunk's offset",
          {"queryChunk": chunk, "causal": True}, add(keyLengths=lambda d: lengths(9, 4)), anchors=[1],
          file="anchor-1-exact-causal", b=2, h=2, lq=10, lk=10, d=4)
for chunk in (1, 4, 7, 64):
    top_k(f"anchor-1-top-k-chunk-{chunk}", "top-k with bias, causal and dropout: chunks see global query indices", 4,
          {"queryChunk": chunk, "causal": True, "dropout": {"rate": 0.25, "seed": 7 + 9 * 2**32}}, bias_shape(1, 2, 11, 1),
          anchors=[1], file="anchor-1-top-k", b=2, h=2, lq=11, lk=11, d=4)

# --- anchor 2: brute force ---------------------------------------------------------------------------------------------
for k in (1, 2, 5, 8, 11):
    top_k(f"anchor-2-brute-force-k{k}", "mask all but the top k to -inf, then softmax", k, anchors=[2], b=1, h=2, lq=9,
          lk=12, d=4)
top_k("anchor-2-k-equals-lk", "k = Lk keeps every key: the exact result", 10, anchors=[2], file="anchor-2-k-full", b=1,
      h=2, lq=6, lk=10, d=4)
top_k("anchor-2-k-above-lk", "k > Lk keeps every key; the indices have min(k, Lk) slots", 15, anchors=[2], b=1, h=2, lq=6, lk=10, d=4)
exact("anchor-2-exact", "exact attention", anchors=[2], b=1, h=2, lq=6, lk=10, d=4)
top_k("anchor-2-masked", "random mask per query, k keys among the valid ones", 3, None,
      add(mask=lambda d: d.booleans(0.6, 2, 2, 8, 10)), anchors=[2], b=2, h=2, lq=8, lk=10, d=4)
top_k("anchor-2-causal", "causal self-attention", 3, {"causal": True}, anchors=[2], b=1, h=3, lq=12, lk=12, d=4)
top_k("anchor-2-float32-inputs", "24-bit inputs, 48 wide: sums round in f32", 7, None, anchors=[2], b=1, h=1, lq=4, lk=40,
      d=48, values="uniform32")

# --- anchor 3: rows with fewer than k visible keys -----------------------------------------------------------------------
top_k("anchor-3-causal-early-rows", "rows 0..6 see fewer than k keys and are exact; unused slots are -1", 8,
      {"causal": True}, anchors=[3], b=1, h=2, lq=16, lk=16, d=4)
exact("anchor-3-causal-early-rows-exact", "the first 8 rows equal those of top-k with k = 8", {"causal": True},
      anchors=[3], make=random_attention("anchor-3-causal-early-rows", b=1, h=2, lq=16, lk=16, d=4))
top_k("anchor-3-few-valid", "key lengths 0, 1, 3 and 9 with k = 4", 4, None,
      add(keyLengths=lambda d: lengths(0, 1, 3, 9)), anchors=[3], b=4, h=1, lq=5, lk=9, d=4)

# --- anchor 4: what training stores --------------------------------------------------------------------------------------
top_k("anchor-4-training-storage", "300 keys, chunks of 8: bounds hold the bytes of the records (8 per kept score) and of "
      "one chunk's f32 scores; peak live score storage stays under records + c * chunkScores with a small c", 16,
      {"queryChunk": 8}, anchors=[4], bounds={"records": 8 * 1 * 2 * 24 * 16, "chunkScores": 4 * 1 * 2 * 8 * 300}, b=1,
      h=2, lq=24, lk=300, d=4)

# --- shapes ----------------------------------------------------------------------------------------------------------------
both("one-of-everything", "all sizes 1", 1, b=1, h=1, lq=1, lk=1, d=1)
top_k("top-k-k1", "k = 1: the weight is 1, the output is the best key's value row", 1, b=2, h=2, lq=6, lk=9, d=4)
both("dv-larger", "value rows wider than key rows", 3, b=2, h=2, lq=5, lk=8, d=3, dv=7)
both("dv-one", "value rows of one number", 3, b=1, h=2, lq=5, lk=8, d=5, dv=1)
both("single-query", "one query over a cache", 4, b=2, h=2, lq=1, lk=17, d=4)
top_k("top-k-single-query-causal", "decoding: one query sees the whole cache", 4, {"causal": True}, b=1, h=2, lq=1, lk=17,
      d=4)
both("causal-lq-below-lk", "causal aligned to the end: query i sees keys up to i + 6", 4, {"causal": True}, b=1, h=2, lq=4,
     lk=10, d=4)
both("causal-lq-above-lk", "causal with more queries than keys: the leading four rows are empty, zeros, no gradient", 3,
     {"causal": True}, b=1, h=2, lq=10, lk=6, d=4)
both("gqa-4-2", "four query heads over two key heads", 3, b=2, h=4, hkv=2, lq=5, lk=9, d=4)
both("gqa-6-1", "multi-query: six heads over one; dK and dV sum over the heads", 3, {"causal": True}, b=1, h=6, hkv=1,
     lq=7, lk=7, d=4, dv=3)
top_k("top-k-gqa-6-3-everything", "grouped heads with mask, bias, relative bias, dropout and lengths", 3,
      {"causal": True, "relativeBias": {"bidirectional": False, "maxDistance": 16}, "dropout": {"rate": 0.3, "seed": 3 + 4 * 2**32}},
      add(mask=lambda d: d.booleans(0.8, 2, 1, 6, 9), keyLengths=lambda d: lengths(9, 7), bias=lambda d: d.uniform(1, 6, 1, 9),
          relativeBiasTable=lambda d: d.uniform(8, 6)), b=2, h=6, hkv=3, lq=6, lk=9, d=4, dv=5)
both("scale", "a scale of the caller's", 3, {"scale": 0.75}, b=1, h=2, lq=5, lk=9, d=6)
top_k("top-k-scale-negative", "scores are scale * q.k: a negative scale turns the order round", 3, {"scale": -0.5}, b=1,
      h=2, lq=5, lk=9, d=4)
top_k("top-k-scores-large", "integers, scores up to several hundred: softmax must subtract the maximum", 4, {"scale": 1.0},
      make=lambda attempt: qkv_integers("top-k-scores-large", attempt, -12, 12, b=1, h=2, lq=6, lk=12, d=8))
exact("exact-scores-large", "integers, scores up to several hundred", {"scale": 1.0},
      make=lambda attempt: qkv_integers("exact-scores-large", attempt, -12, 12, b=1, h=2, lq=6, lk=12, d=8))


def qkv_integers(name, attempt, low, high, extra=None, **shape):
    draw = Draw(name, attempt)
    x = qkv(draw, **shape)
    for role in ("q", "k"):
        x[role] = draw.integers(low, high, *x[role].shape)
    if extra:
        extra(draw, x)
    return x


# --- masks, lengths -------------------------------------------------------------------------------------------------------
for label, shape in {"b11k": (2, 1, 1, 9), "11qk": (1, 1, 6, 9), "1h1k": (1, 2, 1, 9), "bhqk": (2, 2, 6, 9),
                     "b1qk": (2, 1, 6, 9), "bhq1": (2, 2, 6, 1), "1111": (1, 1, 1, 1)}.items():
    top_k(f"top-k-mask-{label}", "mask of a broadcast shape, true = keep", 3, None,
          add(mask=lambda d, s=shape: d.booleans(0.65, *s) if np.prod(s) > 1 else np.ones(s, bool)), b=2, h=2, lq=6, lk=9,
          d=4)
exact("exact-mask-b11k", "padding mask", None, add(mask=lambda d: d.booleans(0.65, 2, 1, 1, 9)), b=2, h=2, lq=6, lk=9, d=4)
both("row-masked", "queries 1 and 4 have no valid key: zeros and zero gradients, everything finite", 3, None,
     mask_of([[[[q not in (1, 4)] * 8 for q in range(6)]]]), b=1, h=2, lq=6, lk=8, d=4)
both("all-masked", "no query has a valid key: all zeros, all gradients zero", 3, None, mask_of([[[[False]]]]), b=1, h=2,
     lq=4, lk=5, d=4)
both("key-lengths", "key lengths 0, 1, 5 and all 9", 3, None, add(keyLengths=lambda d: lengths(0, 1, 5, 9)), b=4, h=1,
     lq=4, lk=9, d=4)
top_k("top-k-mask-lengths-causal", "a key is valid where mask, length and causality all allow it", 3, {"causal": True},
      add(mask=lambda d: d.booleans(0.7, 2, 1, 8, 8), keyLengths=lambda d: lengths(8, 5)), b=2, h=2, lq=8, lk=8, d=4)

# --- bias -------------------------------------------------------------------------------------------------------------------
for label, shape in {"1111": (1, 1, 1, 1), "111k": (1, 1, 1, 8), "11q1": (1, 1, 5, 1), "1h11": (1, 2, 1, 1),
                     "b111": (2, 1, 1, 1), "b11k": (2, 1, 1, 8), "1hqk": (1, 2, 5, 8), "bhqk": (2, 2, 5, 8),
                     "bh1k": (2, 2, 1, 8)}.items():
    top_k(f"top-k-bias-{label}", "bias of a broadcast shape; its gradient has the same shape", 3, None, bias_shape(*shape),
          b=2, h=2, lq=5, lk=8, d=4)
exact("exact-bias-1hqk", "bias shared by the batch; its gradient sums over it", None, bias_shape(1, 2, 5, 8), b=2, h=2, lq=5,
      lk=8, d=4)
exact("exact-bias-b11k", "bias per batch and key", None, bias_shape(2, 1, 1, 8), b=2, h=2, lq=5, lk=8, d=4)


def minus_infinity_bias(draw, x):
    bias = draw.uniform(1, 2, 6, 9)
    bias[draw.bits(bias.shape) % 3 == 0] = -INF
    bias[0, 1, 2] = -INF
    x["bias"] = bias


both("bias-minus-infinity", "-inf in the bias masks the key and does not count for k; row (head 1, query 2) is empty", 3,
     None, minus_infinity_bias, b=1, h=2, lq=6, lk=9, d=4)

# --- relative bias ----------------------------------------------------------------------------------------------------------
for kind, two_way in (("two-way", True), ("one-way", False)):
    relative = {"relativeBias": {"bidirectional": two_way, "maxDistance": 16}}
    table = add(relativeBiasTable=lambda d: d.uniform(8, 2))
    both(f"relative-bias-{kind}", "T5's relative bias, 8 buckets, distances past the largest bucket", 4,
         {**relative, "causal": not two_way}, extra=table, b=1, h=2, lq=24, lk=24, d=4)
    top_k(f"top-k-relative-bias-{kind}-lq-below-lk", "positions aligned to the end: query i stands at key i + Lk - Lq", 4,
          relative, table, b=1, h=2, lq=3, lk=20, d=4)
    top_k(f"top-k-relative-bias-{kind}-lq-above-lk", "more queries than keys: positions start below zero", 4, relative,
          table, b=1, h=2, lq=14, lk=6, d=4)
top_k("top-k-relative-bias-32-128", "T5's own 32 buckets and distance 128 over 180 keys", 8,
      {"relativeBias": {"bidirectional": True, "maxDistance": 128}}, add(relativeBiasTable=lambda d: d.uniform(32, 1)), b=1,
      h=1, lq=12, lk=180, d=4)
exact("exact-relative-bias-scale-1", "as T5 runs it: scale 1, padding mask, four heads", {
    "scale": 1.0, "relativeBias": {"bidirectional": True, "maxDistance": 128}},
      add(relativeBiasTable=lambda d: d.uniform(32, 4), mask=lambda d: np.arange(12)[None, None, None, :] < np.array(
          [12, 7]).reshape(2, 1, 1, 1)), b=2, h=4, lq=12, lk=12, d=4)

# --- dropout -----------------------------------------------------------------------------------------------------------------
both("dropout", "keyed by seed, batch, head, query and slot (exact: key)", 5, {"dropout": {"rate": 0.1, "seed": 1234}}, b=2,
     h=2, lq=6, lk=12, d=4)
top_k("top-k-dropout-half", "rate 0.5, a seed with both words set, rows with unused slots", 5,
      {"dropout": {"rate": 0.5, "seed": SEED_BOTH_WORDS}, "causal": True}, b=1, h=2, lq=9, lk=9, d=4)
exact("exact-dropout-half-gqa", "rate 0.5, the counter has the query head", {"dropout": {"rate": 0.5, "seed": 5 + 6 * 2**32}}, b=2, h=4,
      hkv=2, lq=5, lk=7, d=4)
top_k("top-k-dropout-gqa", "rate 0.5, the counter has the query head", 4, {"dropout": {"rate": 0.5, "seed": 5 + 6 * 2**32}}, b=2, h=4,
      hkv=2, lq=5, lk=9, d=4)
top_k("top-k-dropout-zero", "rate 0 drops nothing", 4, {"dropout": {"rate": 0.0, "seed": 5 + 6 * 2**32}}, b=1, h=2, lq=5, lk=9, d=4)


# --- ties: integers, exact in every dtype ------------------------------------------------------------------------------------
def tie(name, notes, k, make, options=None, op=top_k, **rest):
    op(name, notes, k, options, make=lambda attempt: make(Draw(name, attempt)), **rest)


def small_integers(draw, low=-1, high=1, **shape):
    x = qkv(draw, **shape)
    for role in ("q", "k"):
        x[role] = draw.integers(low, high, *x[role].shape)
    return x


def with_(draw_x, **changes):
    return {**draw_x, **changes}


tie("tie-all-equal", "all scores 0: the first k keys", 4,
    lambda d: with_(qkv(d, b=1, h=2, lq=4, lk=10, d=4), q=np.zeros((1, 2, 4, 4))))
tie("tie-scale-zero", "scale 0: all scores equal, the first k keys", 3, lambda d: qkv(d, b=1, h=1, lq=4, lk=9, d=4),
    {"scale": 0.0})
tie("tie-integers", "scores of few distinct values", 5, lambda d: small_integers(d, b=2, h=2, lq=8, lk=20, d=4))
tie("tie-integers-k1", "the first of the largest", 1, lambda d: small_integers(d, b=1, h=2, lq=8, lk=20, d=4))
tie("tie-integers-causal", "ties among the visible keys only", 4, lambda d: small_integers(d, b=1, h=2, lq=14, lk=14, d=4),
    {"causal": True})
tie("tie-integers-masked", "ties with every other key masked", 4,
    lambda d: with_(small_integers(d, b=1, h=2, lq=8, lk=16, d=4), mask=(np.arange(16) % 2 == 1).reshape(1, 1, 1, 16)))
tie("tie-integers-bias", "an integer bias makes and breaks ties", 5,
    lambda d: with_(small_integers(d, b=1, h=2, lq=8, lk=16, d=4), bias=d.integers(-1, 1, 1, 1, 8, 16)), {"scale": 1.0})
tie("tie-integers-gqa-dropout", "slots of tied keys decide which weights are dropped", 5,
    lambda d: small_integers(d, b=1, h=4, hkv=2, lq=6, lk=16, d=4), {"dropout": {"rate": 0.4, "seed": 11}})


def duplicated_keys(d):
    x = small_integers(d, -3, 3, b=1, h=2, lq=6, lk=12, d=4)
    x["k"][:, :, 1::2] = x["k"][:, :, 0::2]
    return x


tie("tie-duplicate-keys", "each key twice, k odd: of the last pair only the first is kept", 5, duplicated_keys)


def boundary(d):
    """One dimension: scores are the keys themselves."""
    keys = np.array([2, 5, 5, 1, 5, 3, 3, 5, 2, 3, 3, 0], float).reshape(1, 1, 12, 1)
    return {"q": np.ones((1, 1, 2, 1)), "k": keys, "v": d.uniform(1, 1, 12, 3)}


for k in (3, 4, 5, 6, 7, 8, 9, 10):
    tie(f"tie-boundary-k{k}", "four keys of score 5, four of 3, two of 2: k inside, at the end of and between the groups", k,
        boundary)
tie("tie-negative-zero", "0 and -0 are equal: the lower index wins whatever its sign", 3, lambda d: {
    "q": np.array([[[[0.0, -0.0], [-0.0, -0.0]]]]), "k": d.integers(1, 3, 1, 1, 8, 2) * np.where(np.arange(8) % 2, 1, -1)[:, None],
    "v": d.uniform(1, 1, 8, 2), "bias": np.array([-0.0, 0.0] * 4).reshape(1, 1, 1, 8)}, {"scale": 1.0})
tie("tie-negative-scores", "all scores negative", 4, lambda d: with_(
    small_integers(d, 1, 2, b=1, h=2, lq=5, lk=12, d=3), k=-d.integers(1, 2, 1, 2, 12, 3)), {"scale": 1.0})

# --- long rows: two-level selection ----------------------------------------------------------------------------------------
top_k("long-random", "300 keys, k 16", 16, b=1, h=2, lq=6, lk=300, d=4, dv=3)
top_k("long-causal", "causal over the end of 300 keys", 16, {"causal": True}, b=1, h=1, lq=12, lk=300, d=4)
top_k("long-masked-gqa", "a third of 300 keys valid", 16, None, add(mask=lambda d: d.booleans(0.33, 1, 1, 6, 300)), b=1, h=2,
      hkv=1, lq=6, lk=300, d=4)
top_k("long-k64", "k larger than many blocks hold", 64, b=1, h=1, lq=6, lk=300, d=4)
tie("long-ties", "scores of few values over 300 keys: the k best blocks tie too", 16,
    lambda d: small_integers(d, b=1, h=2, lq=6, lk=300, d=4))
tie("long-all-equal", "300 equal scores: keys 0 to 15", 16,
    lambda d: with_(qkv(d, b=1, h=1, lq=3, lk=300, d=4), q=np.zeros((1, 1, 3, 4))))


def clustered(d):
    """Scores are the keys: the largest lie side by side, so one block holds them all; then the same from the end."""
    ramp = np.arange(300.0).reshape(1, 1, 300, 1)
    return {"q": np.array([1.0, -1.0, 0.0]).reshape(1, 1, 3, 1), "k": np.floor(ramp / 2) / 4, "v": d.uniform(1, 1, 300, 4)}


tie("long-clustered", "the largest scores lie side by side and come in equal pairs: rising, falling, all equal", 15,
    clustered, {"scale": 1.0})
tie("long-one-per-block", "a peak each 19 keys, all peaks equal", 13, lambda d: {
    "q": np.ones((1, 1, 2, 1)), "k": np.where(np.arange(300) % 19 == 7, 4.0, d.integers(0, 2, 300)).reshape(1, 1, 300, 1),
    "v": d.uniform(1, 1, 300, 3)}, {"scale": 1.0})
top_k("long-last-keys-valid", "only the last 20 of 300 keys are valid, then only 5 (fewer than k)", 16, None,
      mask_of([[[[j >= 280 for j in range(300)], [j >= 295 for j in range(300)], [j in (0, 299) for j in range(300)]]]]),
      b=1, h=1, lq=3, lk=300, d=4)
tie("long-lengths-ties", "equal scores, lengths 300, 37 and 3", 16, lambda d: with_(
    qkv(d, b=3, h=1, lq=2, lk=300, d=1), q=np.zeros((3, 1, 2, 1)), keyLengths=lengths(300, 37, 3)), gradients=False)
exact("long-exact", "exact over 300 keys", b=1, h=1, lq=6, lk=300, d=4)


# --- values that are not numbers ---------------------------------------------------------------------------------------------
def set_(**edits):
    """Edits of the form role=[(index, value), ...]."""

    def edit(x):
        for role, changes in edits.items():
            for index, value in changes:
                x[role][index] = value

    return change(edit)


def bias_with(shape, *changes):
    def extra(draw, x):
        x["bias"] = draw.uniform(*shape)
        for index, value in changes:
            x["bias"][index] = value

    return extra


both("plus-infinity-bias", "+inf ranks first and makes its row NaN: rows (0, 1) and (1, 3)", 3,
     extra=bias_with((1, 2, 5, 8), ((0, 0, 1, 6), INF), ((0, 1, 3, 0), INF)), gradients=False, b=1, h=2, lq=5, lk=8, d=4)
top_k("top-k-plus-infinity-k1", "k = 1 with one +inf: softmax of one +inf is NaN too", 1,
      extra=bias_with((1, 1, 3, 6), ((0, 0, 1, 4), INF)), gradients=False, b=1, h=1, lq=3, lk=6, d=4)
top_k("top-k-plus-infinity-many", "more +inf scores than k: the lower indices are kept, the row is NaN", 2,
      extra=bias_with((1, 1, 3, 6), ((0, 0, 1, slice(1, 5)), INF)), gradients=False, b=1, h=1, lq=3, lk=6, d=4)
top_k("top-k-minus-infinity-key", "a key row with -inf against positive queries: score -inf, so the key is masked", 5,
      extra=lambda d, x: (x.update(q=np.abs(x["q"]) + 0.25), set_(k=[((0, 0, 2, 1), -INF)])(d, x)), gradients=False, b=1, h=1,
      lq=4, lk=6, d=4)
both("nan-query", "a NaN query: its row is NaN, the others are not", 3, extra=set_(q=[((0, 0, 2, 1), NAN)]), gradients=False,
     indices=False, b=1, h=2, lq=5, lk=8, d=4)
both("nan-key-causal", "key 5 is NaN: every row that sees it is NaN, chosen or not, the rows before it are not", 2,
     {"causal": True}, extra=set_(k=[((0, 0, 5, 0), NAN)]), gradients=False, indices=False, b=1, h=2, lq=8, lk=8, d=4)
top_k("top-k-nan-first-and-last", "NaN scores at the first and at the last key, where a maximum may miss them", 3,
      extra=bias_with((1, 1, 4, 9), ((0, 0, 0, 0), NAN), ((0, 0, 2, 8), NAN)), gradients=False, indices=False, b=1, h=1, lq=4,
      lk=9, d=4)
top_k("top-k-nan-and-infinities", "+inf, -inf and NaN in one row: NaN; -inf alone: masked", 3,
      extra=bias_with((1, 1, 3, 9), ((0, 0, 0, 1), INF), ((0, 0, 0, 2), -INF), ((0, 0, 0, 3), NAN), ((0, 0, 1, 4), -INF)),
      gradients=False, indices=False, b=1, h=1, lq=3, lk=9, d=4)
top_k("top-k-nan-long", "NaN in one score of 300", 16, extra=bias_with((1, 1, 4, 300), ((0, 0, 1, 137), NAN)), gradients=False,
      indices=False, b=1, h=1, lq=4, lk=300, d=4)
both("nan-masked-key", "a NaN key hidden by the mask is ignored", 3, extra=lambda d, x: (
    set_(k=[((0, 0, 3, 0), NAN), ((0, 1, 3, slice(None)), NAN)])(d, x), mask_of([[[[j != 3 for j in range(8)]]]])(d, x)),
     gradients=False, b=1, h=2, lq=5, lk=8, d=4)
both("nan-beyond-length", "NaN keys and values beyond the key length are ignored", 3, extra=lambda d, x: (
    set_(k=[((slice(None), slice(None), slice(6, None)), NAN)], v=[((slice(None), slice(None), slice(6, None)), NAN)])(d, x),
    add(keyLengths=lambda d: lengths(6))(d, x)), gradients=False, b=1, h=2, lq=5, lk=8, d=4)
top_k("top-k-nan-masked-bias", "a NaN bias hidden by the mask, in a row that is otherwise empty", 3, extra=lambda d, x: (
    bias_with((1, 1, 3, 6), ((0, 0, 1, 2), NAN))(d, x), mask_of([[[[True] * 6, [False] * 6, [True] * 6]]])(d, x)),
      gradients=False, b=1, h=1, lq=3, lk=6, d=4)
top_k("top-k-nan-masked-causal", "a NaN key in the future of the first rows", 4, {"causal": True},
      extra=set_(k=[((0, 0, 7, 2), NAN)]), gradients=False, indices=False, b=1, h=1, lq=8, lk=8, d=4)


def unselected_value(bad):
    """Key 4 scores lowest for every query, so with k below Lk it is never kept; its value row is bad."""

    def extra(draw, x):
        x["q"] = np.abs(x["q"]) + 0.25
        x["k"][:, :, 4] = -4.0
        x["v"][:, :, 4] = bad

    return extra


top_k("top-k-nan-unselected-value", "the value row of a key that no query keeps is NaN: output and gradients stay finite", 3,
      extra=unselected_value(NAN), b=1, h=2, lq=5, lk=8, d=4)
top_k("top-k-infinite-unselected-value", "the value row of a key that no query keeps is +inf", 3,
      extra=unselected_value(INF), b=1, h=2, lq=5, lk=8, d=4)
top_k("top-k-nan-value-unused-slots", "fewer valid keys than k; value row 0 is NaN and masked: unused slots must not read it", 4,
      extra=lambda d, x: (set_(v=[((slice(None), slice(None), 0), NAN)])(d, x), mask_of(
          [[[[j in (2, 5) for j in range(8)], [False] * 8, [j > 0 for j in range(8)]]]])(d, x)), b=1, h=2, lq=3, lk=8, d=4)
exact("exact-nan-masked-value", "NaN in the value row of a masked key: output and gradients stay finite", None,
      lambda d, x: (set_(v=[((0, 0, 3), NAN)])(d, x), mask_of([[[[j != 3 for j in range(8)]]]])(d, x)), b=1, h=2, lq=5, lk=8,
      d=4)
both("nan-selected-value", "NaN in one number of a kept value row: that column is NaN, the others are not", 8,
     extra=set_(v=[((0, 0, 3, 1), NAN)]), gradients=False, b=1, h=2, lq=3, lk=8, d=4)
