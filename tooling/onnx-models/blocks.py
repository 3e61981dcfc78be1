"""Attention as transformers 4.x and other projects write it, one block each."""

import math

import torch
from torch import nn

WIDTH = 32
HEADS = 4
DEPTH = WIDTH // HEADS
AXES = {0: "batch", 1: "length"}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def heads(self, x):
        return x.view(x.shape[0], x.shape[1], HEADS, DEPTH).permute(0, 2, 1, 3)

    def join(self, x):
        x = x.permute(0, 2, 1, 3).contiguous()
        return self.out(x.view(x.shape[0], x.shape[1], WIDTH))


class Bert4(Block):
    """Div by sqrt(d), an additive mask [B, 1, 1, L]."""

    def forward(self, x, mask):
        added = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        scores = torch.matmul(self.heads(self.query(x)), self.heads(self.key(x)).transpose(-1, -2))
        weights = torch.softmax(scores / math.sqrt(DEPTH) + added, dim=-1)
        return self.join(torch.matmul(weights, self.heads(self.value(x))))


class DistilBert4(Block):
    """Div on the queries, masked_fill."""

    def forward(self, x, mask):
        scores = torch.matmul(self.heads(self.query(x)) / math.sqrt(DEPTH), self.heads(self.key(x)).transpose(2, 3))
        hidden = (mask == 0).view(mask.shape[0], 1, 1, mask.shape[1]).expand_as(scores)
        weights = torch.softmax(scores.masked_fill(hidden, torch.finfo(scores.dtype).min), dim=-1)
        return self.join(torch.matmul(weights, self.heads(self.value(x))))


class Gpt4(Block):
    """Where(a slice of a constant triangle), then an additive mask."""

    def __init__(self):
        super().__init__()
        triangle = torch.tril(torch.ones(128, 128, dtype=torch.bool))
        self.register_buffer("triangle", triangle.view(1, 1, 128, 128))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x, mask):
        added = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        query, key, value = (self.heads(part) for part in self.qkv(x).split(WIDTH, dim=2))
        scores = torch.matmul(query, key.transpose(-1, -2))
        scores = scores / torch.full([], DEPTH**0.5, dtype=scores.dtype)
        rows, columns = query.size(-2), key.size(-2)
        visible = self.triangle[:, :, columns - rows : columns, :columns]
        scores = torch.where(visible, scores, torch.full([], torch.finfo(scores.dtype).min))
        return self.join(torch.matmul(torch.softmax(scores + added, dim=-1), value))


class Bart4(Block):
    """Batches of three axes [B * H, L, d], the mask added in four."""

    def forward(self, x, mask):
        batch, length, _ = x.shape
        added = ((1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min).expand(
            batch, 1, length, length
        )
        flat = (batch * HEADS, -1, DEPTH)
        query = self.heads(self.query(x) * DEPTH**-0.5).contiguous().view(*flat)
        key = self.heads(self.key(x)).contiguous().view(*flat)
        value = self.heads(self.value(x)).contiguous().view(*flat)
        scores = torch.bmm(query, key.transpose(1, 2)).view(batch, HEADS, length, length) + added
        weights = torch.softmax(scores.view(batch * HEADS, length, length), dim=-1)
        return self.join(torch.bmm(weights, value).view(batch, HEADS, length, DEPTH))


class Weights(Bert4):
    """Returns the weights too."""

    def forward(self, x, mask):
        scores = torch.matmul(self.heads(self.query(x)), self.heads(self.key(x)).transpose(-1, -2))
        weights = torch.softmax(scores, dim=-1)
        return self.join(torch.matmul(weights, self.heads(self.value(x)))), weights + mask[:, None, None, :]


def text(block):
    def make():
        mask = torch.ones(2, 13, dtype=torch.int64)
        mask[0, 9:] = 0
        return block(), {"x": (torch.randn(2, 13, WIDTH), AXES), "mask": (mask, AXES)}

    return make


BLOCKS = {
    "bert4": (text(Bert4), 14),
    "distilbert4": (text(DistilBert4), 14),
    "gpt4": (text(Gpt4), 14),
    "bart4": (text(Bart4), 14),
    "bert4-opset-9": (text(Bert4), 9),
    "bert4-opset-11": (text(Bert4), 11),
    "weights-returned": (text(Weights), 17),
}
