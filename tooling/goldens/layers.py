"""Outputs and gradients of PyTorch's and transformers' layers, in float64.

Writes packages/nn/test/goldens/layers.json. Parameters and inputs are formulas that the tests repeat, with numbers that f32
holds exactly: element i of tensor t is ((37 i + 11 t) mod 64 - 32) / 80, parameters in the order of their sorted names, inputs
after them. The gradient is that of sum(output * weight), where element i has weight ((13 i) mod 16 - 8) / 8. Of each gradient
one number is stored: its sum with weights ((7 i) mod 32 - 16) / 16.
"""

import argparse
import json
import math
import pathlib

import torch
from torch import nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseGatedActDense

GOLDENS = pathlib.Path(__file__).resolve().parents[2] / "packages" / "nn" / "test" / "goldens"
WIDTH, HEADS, HIDDEN = 8, 2, 12


def formula(index, shape):
    ramp = torch.arange(math.prod(shape), dtype=torch.float64)
    # Divided in f32, as a file holds it.
    return (((37 * ramp + 11 * index) % 64 - 32).float() / 80).double().reshape(shape)


def weighted(x, step, period):
    ramp = torch.arange(x.numel(), dtype=torch.float64)
    return (x.reshape(-1) * (((step * ramp) % period) - period / 2) / (period / 2)).sum()


def padding(lengths, tokens):
    """True for what is not there, as PyTorch has it."""
    return torch.arange(tokens)[None, :] >= torch.tensor(lengths)[:, None]


def separate(name, value):
    """Names of separate projections for PyTorch's packed ones."""
    if "in_proj_" not in name:
        return {name: value}
    outer, kind = name.split("in_proj_")
    return {f"{outer}{role}_proj.{kind}": part for role, part in zip("qkv", value.chunk(3))}


def case(name, module, shapes, apply, **facts):
    module = module.double().eval()
    parameters = dict(sorted(module.named_parameters()))
    for index, parameter in enumerate(parameters.values()):
        parameter.data = formula(index, parameter.shape)
    inputs = [formula(len(parameters) + index, shape) for index, shape in enumerate(shapes)]
    for one in inputs:
        one.requires_grad_()
    output = apply(module, *inputs)
    weighted(output, 13, 16).backward()
    gradients = {}
    for own, parameter in parameters.items():
        for split, gradient in separate(own, parameter.grad).items():
            gradients[split] = weighted(gradient, 7, 32).item()
    return {
        "name": name,
        **facts,
        "parameters": {own: list(parameter.shape) for own, parameter in parameters.items()},
        "inputs": shapes,
        "shape": list(output.shape),
        "output": output.detach().reshape(-1).tolist(),
        "gradients": gradients,
        "inputGradients": [weighted(one.grad, 7, 32).item() for one in inputs],
    }


def attention(module, x, source=None, lengths=None):
    source = x if source is None else source
    mask = None if lengths is None else padding(lengths, source.shape[1])
    return module(x, source, source, key_padding_mask=mask, need_weights=False)[0]


class Grouped(nn.Module):
    """Causal attention with LLaMA's rotary positions, 4 heads of queries and 2 of keys."""

    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, 16, bias=False)
        self.k_proj = nn.Linear(WIDTH, 8, bias=False)
        self.v_proj = nn.Linear(WIDTH, 8, bias=False)
        self.out_proj = nn.Linear(16, WIDTH, bias=False)

    def forward(self, x):
        batch, tokens, _ = x.shape
        q, k, v = (
            projection(x).view(batch, tokens, -1, 4).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        angles = torch.arange(tokens)[:, None] * 100.0 ** (-torch.arange(0, 4, 2, dtype=torch.float64) / 4)
        angles = torch.cat([angles, angles], -1)[None]
        q, k = apply_rotary_pos_emb(q, k, angles.cos(), angles.sin())
        made = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out_proj(made.transpose(1, 2).reshape(batch, tokens, -1))


class Performer(nn.Module):
    """The definition of FAVOR+ with the matrix of all pairs: 2 heads, 5 directions."""

    def __init__(self, kind, causal, epsilon):
        super().__init__()
        self.kind, self.causal, self.epsilon = kind, causal, epsilon
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            self.add_module(name, nn.Linear(WIDTH, WIDTH))
        self.mechanism = nn.ParameterDict({"projection": torch.zeros(5, WIDTH // HEADS)})

    def features(self, x, axes):
        logits = x @ self.mechanism["projection"].T
        if self.kind == "relu":
            return torch.relu(logits) + self.epsilon
        logits = logits - (x * x).sum(-1, keepdim=True) / 2
        return torch.exp(logits - logits.amax(axes, keepdim=True).detach()) + self.epsilon

    def forward(self, x):
        batch, tokens, _ = x.shape
        q, k, v = (
            projection(x).view(batch, tokens, HEADS, -1).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        scale = (WIDTH // HEADS) ** -0.25
        pairs = self.features(q * scale, -1) @ self.features(k * scale, (-2, -1)).transpose(-1, -2)
        weights = pairs.tril() if self.causal else pairs
        made = (weights / weights.sum(-1, keepdim=True)) @ v
        return self.out_proj(made.transpose(1, 2).reshape(batch, tokens, -1))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(WIDTH, 6)
        self.out_proj = nn.Linear(6, 3)

    def forward(self, x, lengths):
        there = (~padding(lengths, x.shape[1])).double()[..., None]
        return self.out_proj(torch.tanh(self.dense((x * there).sum(1) / there.sum(1))))


def encoder(norm_first, activation):
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, activation=activation, norm_first=norm_first, batch_first=True
    )
    norm = nn.LayerNorm(WIDTH) if norm_first else None
    return nn.TransformerEncoder(layer, 2, norm=norm, enable_nested_tensor=False)


def decoder():
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True)
    return nn.TransformerDecoder(layer, 2)


def decode(module, x, memory):
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=torch.float64)
    return module(
        x, memory, tgt_mask=mask, tgt_is_causal=True, memory_key_padding_mask=padding([4, 2], memory.shape[1])
    )


def sinusoids(tokens):
    """PyTorch's tutorial."""
    position = torch.arange(tokens, dtype=torch.float64)[:, None]
    rates = torch.exp(torch.arange(0, WIDTH, 2, dtype=torch.float64) * (-math.log(10000.0) / WIDTH))
    table = torch.zeros(tokens, WIDTH, dtype=torch.float64)
    table[:, 0::2], table[:, 1::2] = torch.sin(position * rates), torch.cos(position * rates)
    return table


def t5_config():
    return T5Config(
        d_model=WIDTH,
        d_kv=4,
        num_heads=HEADS,
        d_ff=HIDDEN,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        attn_implementation="eager",
    )


def cases():
    x, memory = [2, 5, WIDTH], [2, 4, WIDTH]
    yield case("linear", nn.Linear(WIDTH, 3), [x], lambda module, one: module(one))
    yield case("layer norm", nn.LayerNorm(WIDTH), [x], lambda module, one: module(one))
    yield case("rms norm", nn.RMSNorm(WIDTH, eps=1e-6), [x], lambda module, one: module(one))
    yield case(
        "self-attention",
        nn.MultiheadAttention(WIDTH, HEADS, batch_first=True),
        [x],
        lambda module, one: attention(module, one, lengths=[5, 3]),
        lengths=[5, 3],
    )
    yield case(
        "cross-attention",
        nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, kdim=6, vdim=6, bias=False),
        [x, [2, 4, 6]],
        attention,
    )
    yield case("grouped heads, rotary", Grouped(), [x], lambda module, one: module(one))
    for name, kind, causal, epsilon in [
        ("performer", "softmax", False, 1e-6),
        ("performer, causal", "softmax", True, 0.0),
        ("performer, relu", "relu", True, 1e-3),
    ]:
        yield case(name, Performer(kind, causal, epsilon), [x], lambda module, one: module(one))
    yield case(
        "T5 attention",
        T5Attention(t5_config(), has_relative_attention_bias=True),
        [x],
        lambda module, one: module(one)[0],
    )
    yield case("T5 feed-forward", T5DenseGatedActDense(t5_config()), [x], lambda module, one: module(one))
    for norm_first, activation in [(False, "relu"), (True, "gelu")]:
        yield case(
            f"encoder, norms {'first' if norm_first else 'behind'}",
            encoder(norm_first, activation),
            [x],
            lambda module, one: module(one, src_key_padding_mask=padding([5, 3], 5)),
            lengths=[5, 3],
        )
    yield case("decoder", decoder(), [x, memory], decode, lengths=[4, 2])
    yield case(
        "classifier head", Head(), [x], lambda module, one: module(one, [5, 2]), lengths=[5, 2]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the file within 1e-12 instead of writing it")
    check = parser.parse_args().check
    path = GOLDENS / "layers.json"
    made = {"cases": list(cases()), "sinusoids": sinusoids(5).reshape(-1).tolist()}
    if not check:
        path.write_text(json.dumps(made, indent=1) + "\n")
    elif not close(json.loads(path.read_text()), json.loads(json.dumps(made))):
        raise SystemExit(f"{path} differs")


def close(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(close, a, b))
    return a == b or (isinstance(a, float) and isinstance(b, float) and abs(a - b) < 1e-12)


if __name__ == "__main__":
    main()
