"""Exports models of the size that people have, with random weights, to measure with; they are not committed.

    python large_models.py FOLDER    bert-base.onnx (0.5 GB), attention.onnx (one attention layer, 9 MB) and heads.onnx
                                     (attention of q, k and v without weights)

All come from the traced exporter at operator set 17, with eager attention.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from transformers import BertConfig, BertModel

from export_models import Outputs, write_part

LONGEST = 16384
WIDTH, HEADS = 768, 12


class Attention(nn.Module):
    """Self-attention with its four projections, without a mask."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def heads(self, x):
        return x.view(x.shape[0], x.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, x):
        query, key, value = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5, dim=-1)
        return self.out((weights @ value).transpose(1, 2).reshape(x.shape))


class Heads(nn.Module):
    """Attention alone: q, k and v of [batch, heads, length, 64]."""

    def forward(self, q, k, v):
        return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1) @ v


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    axes = {0: "batch", 1: "length"}
    config = BertConfig(max_position_embeddings=LONGEST, attn_implementation="eager")
    bert = Outputs(BertModel(config, add_pooling_layer=False))
    text = {
        "input_ids": (torch.randint(1, config.vocab_size, (1, 13)), axes),
        "attention_mask": (torch.ones(1, 13, dtype=torch.int64), axes),
    }
    depth = WIDTH // HEADS
    heads = {
        "q": (torch.randn(1, HEADS, 13, depth), {0: "batch", 2: "queries"}),
        "k": (torch.randn(1, HEADS, 19, depth), {0: "batch", 2: "keys"}),
        "v": (torch.randn(1, HEADS, 19, depth), {0: "batch", 2: "keys"}),
    }
    states = {"x": (torch.randn(1, 13, WIDTH), axes)}
    with torch.no_grad():
        write_part((bert, text), "traced-17", folder / "bert-base.onnx")
        write_part((Heads(), heads), "traced-17", folder / "heads.onnx")
        write_part((Attention(), states), "traced-17", folder / "attention.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
