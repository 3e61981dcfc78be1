"""The equations of BERT, DistilBERT and RoBERTa written out, in float64, and with top-k in every layer."""

import math

import torch

BLOCKS = {
    "bert": ("bert.encoder.layer.{}.", "attention.self.query", "attention.self.key", "attention.self.value",
             "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"),
    "distilbert": ("distilbert.transformer.layer.{}.", "attention.q_lin", "attention.k_lin", "attention.v_lin",
                   "attention.out_lin", "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
}
BLOCKS["roberta"] = ("roberta.encoder.layer.{}.", *BLOCKS["bert"][1:])


def norm(x, weight, bias, epsilon=1e-12):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + epsilon) * weight + bias


def gelu(x):
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


class Encoder:
    """k and units: how many keys each query, and how many hidden units each token keeps; None keeps all."""

    def __init__(self, family, weights, layers, heads, pad, k=None, units=None, select="contribution"):
        self.family, self.w, self.layers, self.heads, self.pad = family, weights, layers, heads, pad
        self.k, self.units, self.select = k, units, select
        # The smallest difference met between a score that was kept and one that was not.
        self.gap = math.inf

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def kept(self, scores, count):
        """Where the `count` largest of each row stand."""
        if count is None or count >= scores.shape[-1]:
            return torch.ones_like(scores, dtype=torch.bool)
        order = scores.sort(dim=-1, descending=True, stable=True)
        above, below = order.values[..., count - 1], order.values[..., count]
        differences = (above - below)[torch.isfinite(below)]
        if differences.numel():
            self.gap = min(self.gap, float(differences.min()))
        mask = torch.zeros_like(scores, dtype=torch.bool)
        return mask.scatter(-1, order.indices[..., :count], True)

    def attend(self, x, valid, names):
        q, k, v = (self.linear(x, name).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in names)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~valid[:, None, None, :], -torch.inf)
        # Queries in the padding have no meaning, and are not compared.
        scores = scores.masked_fill(~self.kept(scores, self.k), -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def transform(self, x, first, second):
        hidden = self.linear(x, first)
        active = gelu(hidden)
        ranks = hidden if self.select == "preactivation" else active.abs() * self.w[second + ".weight"].norm(dim=0)
        return self.linear(active * self.kept(ranks, self.units), second)

    def encode(self, ids, valid, types):
        family, w = self.family, self.w
        place = f"{family}.embeddings."
        if family == "roberta":
            counted = (ids != self.pad).long()
            positions = counted.cumsum(1) * counted + self.pad
        else:
            positions = torch.arange(ids.shape[1]).expand_as(ids)
        x = w[place + "word_embeddings.weight"][ids] + w[place + "position_embeddings.weight"][positions]
        if family != "distilbert":
            x = x + w[place + "token_type_embeddings.weight"][types]
        x = norm(x, w[place + "LayerNorm.weight"], w[place + "LayerNorm.bias"])
        for layer in range(self.layers):
            prefix, q, k, v, o, attention_norm, first, second, output_norm = BLOCKS[family]
            at = prefix.format(layer)
            attended = self.linear(self.attend(x, valid, [at + q, at + k, at + v]), at + o)
            x = norm(x + attended, w[f"{at}{attention_norm}.weight"], w[f"{at}{attention_norm}.bias"])
            x = norm(x + self.transform(x, at + first, at + second), w[f"{at}{output_norm}.weight"], w[f"{at}{output_norm}.bias"])
        return x
