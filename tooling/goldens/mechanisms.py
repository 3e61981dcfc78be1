"""Closed forms of the mechanisms of packages/mechanisms, by all pairs in numpy and float64.

Writes packages/mechanisms/test/goldens/mechanisms.json. Nothing here is linear in the length, estimated in another way or
iterated as the packages do it: weights of all pairs, exact pseudo-inverses, bisection, sums written out. Inputs and
parameters are stored beside the outputs, row-major, for one example and two heads.
"""

import argparse
import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).resolve().parents[2] / "packages" / "mechanisms" / "test" / "goldens" / "mechanisms.json"
HEADS, LENGTH, DIM, WIDTH = 2, 7, 4, 8
rng = np.random.default_rng(20)
Q, K, V = (rng.standard_normal((HEADS, LENGTH, DIM)) for _ in range(3))
X = rng.standard_normal((LENGTH, WIDTH))
TRIANGLE = np.tril(np.ones((LENGTH, LENGTH)))


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def rows_of(weights, v):
    """Weighted means: v by rows of weights over their sums."""
    return weights @ v / weights.sum(-1, keepdims=True)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def standardised(x):
    y = x - x.mean(-1, keepdims=True)
    return y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-12)


def simpletron(seen):
    counts = seen.sum(-1)[None, :, None]
    return (Q @ K.transpose(0, 2, 1) * seen) @ V / np.sqrt(counts)


def sigmoid_attention(bias, seen):
    return (sigmoid(Q @ K.transpose(0, 2, 1) / np.sqrt(DIM) + bias) * seen) @ V


def fastmax(order, temperature, seen):
    s = standardised(Q) @ standardised(K).transpose(0, 2, 1) / temperature
    return rows_of((1 + s + (0.5 * s * s if order == 2 else 0)) * seen, V)


def rfa_weights(directions, bandwidth):
    w = directions * bandwidth[:, None, :]
    features = lambda x: np.concatenate([f(unit(x) @ w.transpose(0, 2, 1)) for f in (np.sin, np.cos)], -1)
    return features(Q) @ features(K).transpose(0, 2, 1) / w.shape[1]


def arc_cosine_weights(directions, bandwidth):
    w = directions * bandwidth[:, None, :]
    features = lambda x: np.maximum(unit(x) @ w.transpose(0, 2, 1), 0)
    return features(Q) @ features(K).transpose(0, 2, 1) / w.shape[1]


def gated(weights, gates):
    """Weight of key j for query t: (1 - g_j) g_{j+1} ... g_t."""
    out = np.zeros_like(V)
    for h in range(HEADS):
        for t in range(LENGTH):
            own = [(1 - gates[h, j]) * np.prod(gates[h, j + 1 : t + 1]) * weights[h, t, j] for j in range(t + 1)]
            out[h, t] = np.array(own) @ V[h, : t + 1] / sum(own)
    return out


def kernel_features(x, layers):
    for at, (a, g) in enumerate(layers):
        made = x @ a.transpose(0, 2, 1)
        x = (softplus(made) if at == len(layers) - 1 else made) * sigmoid(x @ g.transpose(0, 2, 1))
    return x


def gauss(x, y):
    return np.exp(-0.5 * ((x[..., :, None, :] - y[..., None, :, :]) ** 2).sum(-1))


def soft(count, ridge, norm):
    x = Q * DIM**-0.25
    segments = [[t for t in range(LENGTH) if t * count // LENGTH == a] for a in range(count)]
    y = np.stack([x[:, s].mean(1) for s in segments], 1)
    near, among = gauss(x, y), gauss(y, y)
    inverse = np.linalg.pinv(among + ridge * np.eye(count))
    if norm:
        d = among.sum(-1) ** -0.5
        inverse = d[:, :, None] * inverse * d[:, None, :]
    return near @ inverse @ near.transpose(0, 2, 1) @ V


def entmax15(z):
    """By bisection."""
    y = z / 2
    low, high = y.max() - 1, y.max()
    for _ in range(200):
        middle = (low + high) / 2
        if (np.maximum(y - middle, 0) ** 2).sum() >= 1:
            low = middle
        else:
            high = middle
    return np.maximum(y - low, 0) ** 2


def relative(directions, bias, seen):
    features = lambda x: np.exp(unit(x) @ directions.transpose(0, 2, 1) - 0.5)
    factors = np.exp([[[bias[h, j - i + LENGTH - 1] for j in range(LENGTH)] for i in range(LENGTH)] for h in range(HEADS)])
    return rows_of(features(Q) @ features(K).transpose(0, 2, 1) * factors * seen, V)


def split(x):
    return x.reshape(len(x), HEADS, -1).transpose(1, 0, 2)


def merge(x):
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def luna(memory, w):
    """Pack and unpack with tied keys and values; before residuals and norms. Weights [out, in]."""
    scale = (WIDTH // HEADS) ** -0.5
    pack_query, pack_key = split(memory @ w["pack_query"].T), split(X @ w["pack_key"].T)
    packed = merge(softmax(pack_query @ pack_key.transpose(0, 2, 1) * scale) @ pack_key)
    query, key = split(X @ w["query"].T), split(packed @ w["key"].T)
    return merge(softmax(query @ key.transpose(0, 2, 1) * scale) @ key) @ w["output"].T, packed


def luna_causal(memory):
    """One sum over the past written out for each token. memory [H, l, d]"""
    scale = DIM**-0.5
    omega = np.log1p(2.0 ** (K @ (memory * scale).transpose(0, 2, 1))) / np.log(2)
    out = np.zeros_like(V)
    for h in range(HEADS):
        for t in range(LENGTH):
            past = range(t + 1)
            scores = sum((scale * Q[h, t] @ K[h, s]) * omega[h, s] for s in past) / (t + 1)
            out[h, t] = sum((softmax(scores) @ omega[h, s]) * V[h, s] for s in past) / (t + 1)
    return out


def sbm(clusters, first, second):
    """Expected edges [H, L, L] from memberships."""
    memberships = lambda x: sigmoid((np.maximum(x @ first.T, 0) @ second.T) @ clusters.transpose(0, 2, 1))
    products = clusters @ clusters.transpose(0, 2, 1)
    blocks = np.exp(products)
    blocks /= blocks.sum((1, 2), keepdims=True)
    return memberships(Q) @ blocks @ memberships(K).transpose(0, 2, 1)


def filtered(x, kernel):
    """Correlation along the tokens, 'same' length. x [H, L, d], kernel [H, w]"""
    width = kernel.shape[1]
    left = (width - 1) // 2
    out = np.zeros_like(x)
    for h in range(HEADS):
        for t in range(LENGTH):
            for i in range(width):
                at = t - left + i
                if 0 <= at < LENGTH:
                    out[h, t] += kernel[h, i] * x[h, at]
    return out


def goldens():
    normal = rng.standard_normal
    directions, bandwidth = normal((HEADS, 6, DIM)), 1 + 0.2 * normal((HEADS, DIM))
    gate_weight, gate_bias = 0.4 * normal((HEADS, WIDTH)), normal(HEADS)
    gates = sigmoid(X @ gate_weight.T + gate_bias).T
    layers = [(0.5 * normal((HEADS, DIM, DIM)), 0.5 * normal((HEADS, DIM, DIM))) for _ in range(2)]
    bias = 0.5 * normal((HEADS, 2 * LENGTH - 1))
    memory = normal((3, WIDTH))
    names = ("pack_query", "pack_key", "query", "key", "output")
    weights = {name: normal((WIDTH, WIDTH)) / np.sqrt(WIDTH) for name in names}
    head_memory = normal((HEADS, 3, DIM))
    clusters, first, second = normal((HEADS, 5, DIM)), normal((DIM, DIM)), normal((DIM, DIM))
    kernel = normal((HEADS, 4))
    scores = 2 * normal((6, 9))
    luna_output, luna_packed = luna(memory, weights)
    every = np.ones_like(TRIANGLE)
    of_rfa = rfa_weights(directions, bandwidth)
    return {
        "query": Q,
        "key": K,
        "value": V,
        "input": X,
        "parameters": {
            "directions": directions,
            "bandwidth": bandwidth,
            "gateWeight": gate_weight,
            "gateBias": gate_bias,
            "kernel0": layers[0][0],
            "kernelGate0": layers[0][1],
            "kernel1": layers[1][0],
            "kernelGate1": layers[1][1],
            "offsets": bias,
            "memory": memory,
            **{f"luna_{name}": one for name, one in weights.items()},
            "headMemory": head_memory,
            "clusters": clusters,
            "first": first,
            "second": second,
            "filter": kernel,
            "scores": scores,
        },
        "outputs": {
            "simpletron": simpletron(every),
            "simpletron, causal": simpletron(TRIANGLE),
            "sigmoid": sigmoid_attention(-np.log(LENGTH), every),
            "sigmoid of length 512, causal": sigmoid_attention(-np.log(512), TRIANGLE),
            "fastmax of order 1": fastmax(1, DIM, every),
            "fastmax of order 1, causal": fastmax(1, DIM, TRIANGLE),
            "fastmax of order 2": fastmax(2, 1, every),
            "fastmax of order 2, causal": fastmax(2, 1, TRIANGLE),
            "rfa": rows_of(of_rfa, V),
            "rfa, causal": rows_of(of_rfa * TRIANGLE, V),
            "arc-cosine": rows_of(arc_cosine_weights(directions, bandwidth), V),
            "rfa with a gate": gated(of_rfa, gates),
            "trainable kernel": rows_of(kernel_features(Q, layers) @ kernel_features(K, layers).transpose(0, 2, 1), V),
            "soft": soft(3, 0.01, False),
            "soft, normalised": soft(3, 0.01, True),
            "entmax": np.array([entmax15(row) for row in scores]),
            "relative": relative(directions, bias, every),
            "relative, causal": relative(directions, bias, TRIANGLE),
            "luna": luna_output,
            "luna, packed": luna_packed,
            "luna, causal": luna_causal(head_memory),
            "sbm, edges": sbm(clusters, first, second),
            "filtered": filtered(K, kernel),
        },
    }


def stored(value):
    if isinstance(value, dict):
        return {name: stored(one) for name, one in value.items()}
    return {"shape": list(value.shape), "data": [float(f"{x:.15g}") for x in value.ravel()]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare within 1e-12, exit 1 on a difference")
    made = stored(goldens())
    if not parser.parse_args().check:
        PATH.parent.mkdir(parents=True, exist_ok=True)
        PATH.write_text(json.dumps(made) + "\n")
    else:
        flat = lambda tree: tree["data"] if "data" in tree else [x for one in tree.values() for x in flat(one)]
        here, there = np.array(flat(made)), np.array(flat(json.loads(PATH.read_text())))
        if here.shape != there.shape or np.abs(here - there).max() > 1e-12:
            raise SystemExit("mechanisms.json differs")
