"""A T5 v1.0 written for training speed: weights of one kind stacked in one tensor, static shapes, bf16 products, f32 residual.

`to_hugging_face` gives the same model under the names of `transformers` T5ForConditionalGeneration. Shapes: B rows,
L tokens, A answer tokens, H heads, D model width.
"""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

EPSILON = 1e-6


@dataclass(frozen=True)
class Config:
    vocab: int = 2048
    width: int = 256
    heads: int = 8
    head_width: int = 32
    hidden: int = 768
    encoder_layers: int = 8
    decoder_layers: int = 2
    buckets: int = 128
    max_distance: int = 2048
    story_layer: int = 3  # the auxiliary "in the asked story" head reads the output of this encoder layer

    def dict(self) -> dict:
        return asdict(self)


def initial(config: Config, device: str) -> dict[str, torch.Tensor]:
    """T5's initialisation (factor 1). Query weights hold the 1/sqrt(d_kv) that T5 leaves out of its attention."""
    inner = config.heads * config.head_width
    if inner != config.width:
        raise ValueError("stacked attention weights need heads * head_width == width")
    d, f = config.width, config.hidden
    le, ld = config.encoder_layers, config.decoder_layers
    normal = lambda *shape, std: torch.randn(*shape) * std

    def attention(layers: int, kinds: int) -> torch.Tensor:
        w = normal(layers, kinds, inner, d, std=d ** -0.5)
        w[:, 0::4] *= config.head_width ** -0.5
        w[:, 3::4] *= 0.5
        return w

    p = {
        "shared": normal(config.vocab, d, std=1.0),
        "encoder_attention": attention(le, 4), "decoder_attention": attention(ld, 8),
        "encoder_wi": normal(le, f, d, std=d ** -0.5), "encoder_wo": normal(le, d, f, std=0.5 * f ** -0.5),
        "decoder_wi": normal(ld, f, d, std=d ** -0.5), "decoder_wo": normal(ld, d, f, std=0.5 * f ** -0.5),
        "encoder_norm": torch.ones(2 * le + 1, d), "decoder_norm": torch.ones(3 * ld + 1, d),
        "encoder_bias": normal(config.buckets, config.heads, std=d ** -0.5),
        "decoder_bias": normal(config.buckets, config.heads, std=d ** -0.5),
        "auxiliary": normal(2, d, std=d ** -0.5),  # not exported
    }
    return {k: v.to(device).requires_grad_() for k, v in p.items()}


def bucket(relative: torch.Tensor, bidirectional: bool, buckets: int, max_distance: int) -> torch.Tensor:
    """T5's bucket of a relative position (key minus query)."""
    base = torch.zeros_like(relative)
    if bidirectional:
        buckets //= 2
        base = (relative > 0).long() * buckets
        distance = relative.abs()
    else:
        distance = -relative.clamp(max=0)
    exact = buckets // 2
    far = exact + (torch.log(distance.float().clamp(min=1) / exact) / math.log(max_distance / exact) * (buckets - exact)).long()
    return base + torch.where(distance < exact, distance, far.clamp(max=buckets - 1))


def encoder_position_index(config: Config, length: int, device: str) -> torch.Tensor:
    """[2L] bucket of every relative position, laid out periodically for `toeplitz`."""
    r = torch.arange(2 * length, device=device)
    return bucket(torch.where(r < length, r, r - 2 * length), True, config.buckets, config.max_distance)


def toeplitz(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """[H, L, L] bias with entry (i, j) = table[index[(j - i) mod 2L]], with a gradient made of plain sums.

    The one-hot product keeps the table's gradient free of atomics; the reshape shifts each row by one.
    """
    length, heads = len(index) // 2, table.shape[1]
    one_hot = (index[:, None] == torch.arange(table.shape[0], device=index.device)).to(table.dtype)
    line = (one_hot @ table).t().to(torch.bfloat16 if table.is_cuda else table.dtype)  # [H, 2L]
    flat = line[:, None, :].expand(heads, length, 2 * length).reshape(heads, -1)
    return flat[:, : length * (2 * length - 1)].view(heads, length, 2 * length - 1)[:, :, :length].contiguous()


class Embed(torch.autograd.Function):
    """Row lookup whose gradient is one product with a one-hot matrix: no sort, no atomics, safe to capture."""

    @staticmethod
    def forward(ctx, tokens: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(tokens)
        ctx.rows = table.shape[0]
        return table[tokens]

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        tokens = ctx.saved_tensors[0].flatten()
        dtype = torch.bfloat16 if gradient.is_cuda else gradient.dtype
        one_hot = (tokens[:, None] == torch.arange(ctx.rows, device=tokens.device)).to(dtype)
        return None, (one_hot.t() @ gradient.flatten(0, -2).to(dtype)).float()


def rms_norm(x: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    x = x.float()
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * weight).to(dtype)


def top_k_only(x: torch.Tensor, k: int, fill: float) -> torch.Tensor:
    """Keeps the k largest entries of the last axis; the rest become `fill`. Evaluation only."""
    if k <= 0 or k >= x.shape[-1]:
        return x
    return torch.where(x >= x.topk(k, -1).values[..., -1:], x, fill)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, heads: int, top_k: int = 0) -> torch.Tensor:
    """softmax(q k^T + bias) v without a scale, as T5. q [B, Lq, D], k and v [B, Lk, D], bias broadcast to [B, H, Lq, Lk]."""
    b, lq, d = q.shape
    split = lambda t: t.view(b, t.shape[1], heads, d // heads).transpose(1, 2)
    scores = (split(q) @ split(k).transpose(2, 3)).float() + bias
    scores = top_k_only(scores, top_k, float("-inf"))
    out = torch.softmax(scores, -1).to(v.dtype) @ split(v)
    return out.transpose(1, 2).reshape(b, lq, d)


def attend_fused(q, k, v, bias: torch.Tensor, hidden: torch.Tensor, heads: int) -> torch.Tensor:
    """`attend` for self attention through the fused kernel, with bias [H, L, L] shared by the rows.

    The kernel takes one additive array, which per row would be [B, H, L, L]. So the padding (hidden [B, 1, 1, L], 0 or very
    negative) enters as an extra coordinate instead: 1 in every query, the penalty in every key.
    """
    b, length, d = q.shape
    split = lambda t: F.pad(t.view(b, length, heads, d // heads).transpose(1, 2), (0, 8))
    q, k, v = split(q), split(k), split(v)
    first = torch.zeros(8, dtype=q.dtype, device=q.device)
    first[0] = 1
    q = q + F.pad(first, (d // heads, 0))
    k = k + hidden.clamp(min=-30000).to(k.dtype).transpose(2, 3) * F.pad(first, (d // heads, 0))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].expand(b, -1, -1, -1).to(q.dtype), scale=1.0)
    return out[..., : d // heads].transpose(1, 2).reshape(b, length, d)


def feed_forward(x: torch.Tensor, wi: torch.Tensor, wo: torch.Tensor, top_k: int = 0) -> torch.Tensor:
    return F.linear(top_k_only(torch.relu(F.linear(x, wi)), top_k, 0.0), wo)


def encoder_layer(x, w, wi, wo, norm_a, norm_f, bias, hidden_keys, heads: int, attention_k: int = 0, feed_forward_k: int = 0,
                  fused: bool = False):
    """x [B, L, D] f32; w [4, D, D] (query, key, value, output); hidden_keys [B, 1, 1, L] is 0 or -1e9."""
    h = rms_norm(x, norm_a, w.dtype)
    q, k, v = F.linear(h, w[:3].reshape(-1, w.shape[2])).chunk(3, -1)
    mixed = attend_fused(q, k, v, bias, hidden_keys, heads) if fused and not attention_k else \
        attend(q, k, v, bias + hidden_keys, heads, attention_k)
    x = x + F.linear(mixed, w[3]).float()
    return x + feed_forward(rms_norm(x, norm_f, w.dtype), wi, wo, feed_forward_k).float()


def decoder_layer(x, memory, w, wi, wo, norms, bias, hidden_keys, heads: int, attention_k: int = 0, feed_forward_k: int = 0):
    """x [B, A, D] f32; memory [B, L, D]; w [8, D, D]: self attention, then attention to the memory."""
    h = rms_norm(x, norms[0], w.dtype)
    q, k, v = F.linear(h, w[:3].reshape(-1, w.shape[2])).chunk(3, -1)
    x = x + F.linear(attend(q, k, v, bias, heads, attention_k), w[3]).float()
    h = rms_norm(x, norms[1], w.dtype)
    k, v = F.linear(memory, w[5:7].reshape(-1, w.shape[2])).chunk(2, -1)
    x = x + F.linear(attend(F.linear(h, w[4]), k, v, hidden_keys, heads, attention_k), w[7]).float()
    return x + feed_forward(rms_norm(x, norms[2], w.dtype), wi, wo, feed_forward_k).float()


class Functions:
    """The two layer functions, compiled or not."""

    def __init__(self, compiled: bool) -> None:
        wrap = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        self.encoder, self.decoder, self.bias, self.losses = wrap(encoder_layer), wrap(decoder_layer), wrap(toeplitz), wrap(losses)


def encode(p, config: Config, fn: Functions, tokens, position_index, dtype, attention_k=0, feed_forward_k=0, fused=False):
    """tokens [B, L] -> (normed memory [B, L, D], hidden state after story_layer, hidden_keys)."""
    cast = {k: p[k].to(dtype).unbind(0) for k in ("encoder_attention", "encoder_wi", "encoder_wo")}
    norms = p["encoder_norm"].unbind(0)
    hidden_keys = torch.where(tokens == 0, -1e9, 0.0)[:, None, None, :]
    bias = fn.bias(p["encoder_bias"], position_index)
    x = Embed.apply(tokens, p["shared"])
    middle = x
    for i in range(config.encoder_layers):
        x = fn.encoder(x, cast["encoder_attention"][i], cast["encoder_wi"][i], cast["encoder_wo"][i], norms[2 * i],
                       norms[2 * i + 1], bias, hidden_keys, config.heads, attention_k, feed_forward_k, fused)
        if i + 1 == config.story_layer:
            middle = x
    return rms_norm(x, norms[-1], dtype), middle, hidden_keys


def decode(p, config: Config, fn: Functions, memory, hidden_keys, answer, attention_k=0, feed_forward_k=0):
    """Teacher forcing: answer [B, A] -> logits [B, A, V]."""
    dtype, length = memory.dtype, answer.shape[1]
    cast = {k: p[k].to(dtype).unbind(0) for k in ("decoder_attention", "decoder_wi", "decoder_wo")}
    norms = p["decoder_norm"].unbind(0)
    x = Embed.apply(F.pad(answer[:, :-1], (1, 0)), p["shared"])
    at = torch.arange(length, device=answer.device)
    index = bucket(at[None, :] - at[:, None], False, config.buckets, config.max_distance)
    one_hot = (index[..., None] == torch.arange(config.buckets, device=index.device)).float()
    bias = (one_hot @ p["decoder_bias"]).permute(2, 0, 1) + torch.where(at[None, :] > at[:, None], -1e9, 0.0)
    for i in range(config.decoder_layers):
        x = fn.decoder(x, memory, cast["decoder_attention"][i], cast["decoder_wi"][i], cast["decoder_wo"][i],
                       torch.stack(norms[3 * i: 3 * i + 3]), bias[None], hidden_keys, config.heads, attention_k, feed_forward_k)
    x = rms_norm(x, norms[-1], dtype) * config.width ** -0.5
    return F.linear(x, p["shared"].to(dtype)).float()


def pointer_loss(score: torch.Tensor, wanted: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of a softmax over positions with the uniform distribution over the wanted ones, its entropy removed."""
    score = torch.where(seen, score, -1e9)
    count = wanted.sum(1)
    picked = torch.where(wanted, torch.log_softmax(score, 1), 0.0).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, -picked - torch.log(count.clamp(min=1).float()), 0.0)


def losses(p_auxiliary, logits, memory, middle, tokens, in_story, is_fact, answer):
    """Per-row answer, story and fact losses, and whether the greedy answer is exactly right, each [B]."""
    mask = (answer > 0).float()
    each = F.cross_entropy(logits.flatten(0, 1), answer.flatten(), reduction="none").view_as(mask) * mask
    seen = tokens > 0
    normed = middle * torch.rsqrt(middle.pow(2).mean(-1, keepdim=True) + EPSILON)
    story = pointer_loss((normed * p_auxiliary[0]).sum(-1), in_story, seen)
    fact = pointer_loss((memory.float() * p_auxiliary[1]).sum(-1), is_fact, seen)
    right = ((logits.argmax(-1) == answer) | (mask == 0)).all(1)
    return each.sum(1), story, fact, right


def to_hugging_face(p: dict[str, torch.Tensor], config: Config) -> dict[str, torch.Tensor]:
    out = {"shared.weight": p["shared"]}
    for side, layers, blocks in (("encoder", config.encoder_layers, ["SelfAttention"]),
                                 ("decoder", config.decoder_layers, ["SelfAttention", "EncDecAttention"])):
        per = len(blocks) + 1
        for i in range(layers):
            root = f"{side}.block.{i}.layer"
            for b, name in enumerate(blocks):
                for n, letter in enumerate("qkvo"):
                    out[f"{root}.{b}.{name}.{letter}.weight"] = p[f"{side}_attention"][i, 4 * b + n]
            out[f"{root}.{per - 1}.DenseReluDense.wi.weight"] = p[f"{side}_wi"][i]
            out[f"{root}.{per - 1}.DenseReluDense.wo.weight"] = p[f"{side}_wo"][i]
            for b in range(per):
                out[f"{root}.{b}.layer_norm.weight"] = p[f"{side}_norm"][per * i + b]
        out[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = p[f"{side}_bias"]
        out[f"{side}.final_layer_norm.weight"] = p[f"{side}_norm"][-1]
    return out
