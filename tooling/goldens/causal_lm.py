"""Golden values for decoder-only models from Python transformers: small random GPT-2, Llama, Mistral, Qwen2 and Qwen3.

    python tooling/goldens/causal_lm.py                  write tooling/t5-goldens/goldens/causal-lm
    python tooling/goldens/causal_lm.py --check          make them in memory and compare

Every model is a folder that transformers loads, its weights in float16. Logits are computed in float64: transformers' models
with norms, rotary angles and softmax in float64 too, which they otherwise compute in float32; the attention function and the
feed-forward layers are written out here, and also keep only the k best where asked. Each must agree with the untouched model
in float32. Generated ids are greedy: transformers' generate() in float32 with its cache, alone and in a batch padded on the
left, and a plain loop in float64 without a cache, all three equal. Prompts are drawn so that at every step the best logit
leads by at least LEAD.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from types import MethodType

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save
from safetensors.torch import save as save_torch
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from philox import Draw
from store import compare_tensors, pretty

OUT = Path(__file__).resolve().parents[1] / "t5-goldens" / "goldens" / "causal-lm"
VOCAB, PAD, EOS = 96, 0, 1
PROMPTS, NEW_TOKENS, LEAD, GAP = 8, 16, 2e-3, 1e-5

LLAMA = {"attention_bias": False, "attention_dropout": 0.0, "bos_token_id": None, "eos_token_id": EOS, "hidden_act": "silu", "hidden_size": 32,
         "intermediate_size": 56, "max_position_embeddings": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
         "num_key_value_heads": 2, "pad_token_id": PAD, "rms_norm_eps": 1e-05, "tie_word_embeddings": False,
         "vocab_size": VOCAB}
GPT2 = {"activation_function": "gelu_new", "attn_pdrop": 0.1, "bos_token_id": EOS, "embd_pdrop": 0.1, "eos_token_id": EOS,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_embd": 32, "n_head": 4, "n_inner": None, "n_layer": 2,
        "n_positions": 64, "pad_token_id": PAD, "resid_pdrop": 0.1, "vocab_size": VOCAB}
MODELS = {
    "gpt2": {**GPT2, "architectures": ["GPT2LMHeadModel"]},
    # Another width, another activation, a head of its own, scores divided by the layer's number, no prefix of names.
    "gpt2-variant": {**GPT2, "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu", "n_inner": 72,
                     "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False},
    "llama": {**LLAMA, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 10000.0},
    # As transformers 5 writes it; positions past those of the first training change speed.
    "llama-3": {**LLAMA, "architectures": ["LlamaForCausalLM"], "attention_bias": True, "head_dim": 12, "model_type": "llama",
                "num_key_value_heads": 1, "tie_word_embeddings": True,
                "rope_parameters": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                                    "original_max_position_embeddings": 32, "rope_theta": 1000.0, "rope_type": "llama3"}},
    # As it was written before.
    "llama-linear": {**LLAMA, "architectures": ["LlamaForCausalLM"], "hidden_act": "gelu", "model_type": "llama",
                     "rope_scaling": {"factor": 2.5, "type": "linear"}, "rope_theta": 500.0},
    "mistral": {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "rope_theta": 1000.0,
                "sliding_window": None},
    "qwen2": {**LLAMA, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1000.0,
              "sliding_window": 8, "tie_word_embeddings": True, "use_sliding_window": False},
    "qwen3": {**LLAMA, "architectures": ["Qwen3ForCausalLM"], "head_dim": 10, "model_type": "qwen3", "rope_theta": 1000.0,
              "num_key_value_heads": 4, "tie_word_embeddings": True},
}
TOP_K = {name: {"attention": {"k": 3}, "feedForward": {"k": 12, "select": "contribution" if i % 2 else "preactivation"}}
         for i, name in enumerate(MODELS)}


class Oracle:
    """What the registered attention function and the patched layers keep; None keeps all. `gap`: the closest boundary met."""

    attention = None
    feed_forward = None
    gap = math.inf


def keep_best(scores, k, valid=None):
    """Where the k largest of each row are; the boundary's gap is noted."""
    scores = scores if valid is None else scores.masked_fill(~valid, -torch.inf)
    ordered = scores.sort(-1, descending=True).values
    if k < scores.shape[-1]:
        gaps = ordered[..., k - 1] - ordered[..., k]
        gaps = gaps[torch.isfinite(gaps)]
        if len(gaps):
            Oracle.gap = min(Oracle.gap, float(gaps.min()))
    at = scores.topk(min(k, scores.shape[-1]), -1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, at, True) & (scores > -torch.inf)


def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
    """Softmax attention in the queries' precision; what the mask hides takes no part."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    places = torch.arange(key.shape[-2])
    valid = places <= places[-query.shape[-2]:, None]
    if attention_mask is not None:
        valid = valid & (attention_mask > -1)
    valid = valid.expand(scores.shape)
    if Oracle.attention is not None:
        valid = keep_best(scores, Oracle.attention, valid)
    weights = torch.nan_to_num(torch.softmax(scores.masked_fill(~valid, -torch.inf), -1), nan=0.0)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register("oracle", attention)
AttentionMaskInterface.register("oracle", eager_mask)


def activation(name, x):
    kinds = {"silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu,
             "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))}
    return kinds[name](x)


def feed_forward(name, module):
    """A feed-forward layer written out, keeping the units that `Oracle.feed_forward` says."""
    gated = hasattr(module, "gate_proj")

    def forward(self, x):
        # GPT-2's linear layers are stored [in, out].
        before = self.gate_proj(x) if gated else x @ self.c_fc.weight + self.c_fc.bias
        units = activation(name, before) * (self.up_proj(x) if gated else 1)
        rows = self.down_proj.weight.T if gated else self.c_proj.weight
        if Oracle.feed_forward is not None:
            rank = before if Oracle.feed_forward["select"] == "preactivation" else units.abs() * rows.norm(dim=-1)
            units = units * keep_best(rank, Oracle.feed_forward["k"])
        return units @ rows + (0 if gated else self.c_proj.bias)

    module.forward = MethodType(forward, module)


def frequencies(config, dim):
    """Radians per position, in float64, from the definitions of the scalings."""
    rope = config.rope_parameters
    base = rope["rope_theta"] ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if rope["rope_type"] == "linear":
        return base / rope["factor"]
    if rope["rope_type"] == "llama3":
        length, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
        waves = 2 * math.pi / base
        share = (length / waves - low) / (high - low)
        mixed = (1 - share) * base / rope["factor"] + share * base
        return torch.where(waves < length / high, base, torch.where(waves > length / low, base / rope["factor"], mixed))
    return base


def in_float64(model):
    config = model.config
    name = config.activation_function if config.model_type == "gpt2" else config.hidden_act
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm"):
            module.forward = MethodType(lambda self, x: self.weight * x * torch.rsqrt(
                x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon), module)
        elif kind.endswith("RotaryEmbedding"):
            module.exact = frequencies(config, 2 * len(module.inv_freq))
            assert torch.allclose(module.exact.float(), module.inv_freq.float(), rtol=1e-5, atol=0), "other frequencies"

            def angles(self, x, position_ids):
                turns = position_ids[:, :, None].double() * self.exact
                both = torch.cat((turns, turns), -1)
                return both.cos(), both.sin()

            module.forward = MethodType(angles, module)
        elif kind.endswith("MLP"):
            feed_forward(name, module)
    return model


def random_weights(config, name):
    """Weights from our own random numbers, in sizes that let the next token depend on those before."""
    draw = Draw(f"causal {name}")
    width = getattr(config, "n_embd", None) or config.hidden_size
    named = {n: tuple(p.shape) for n, p in AutoModelForCausalLM.from_config(config).named_parameters()}
    rules = [("norm.weight", None), ("ln_f.weight", None), ("ln_1.weight", None), ("ln_2.weight", None), ("layernorm.weight", None),
             (".bias", 0.2), ("wpe.weight", 0.4), ("embed_tokens.weight", 0.7), ("wte.weight", 0.7),
             ("lm_head.weight", 2.0 * width**-0.5), ("q_proj.weight", 2.0 * width**-0.5), ("k_proj.weight", 2.0 * width**-0.5),
             ("c_attn.weight", 1.6 * width**-0.5), ("", 1.2 * width**-0.5)]
    weights = {}
    for key, shape in sorted(named.items()):
        unit = torch.from_numpy(draw.uniform(*shape)) / 1.155
        factor = next(factor for ending, factor in rules if key.endswith(ending))
        weights[key] = (1.0 + 0.2 * unit if factor is None else unit * factor).half().contiguous()
    return weights


def load(config, file, dtype, implementation):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        (Path(folder) / "model.safetensors").write_bytes(file)
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=implementation,
                                                           output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval()


@torch.no_grad()
def logits(model, ids, mask=None):
    ids = torch.tensor(ids)
    mask = torch.ones_like(ids) if mask is None else torch.tensor(mask)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits


def greedy(model, prompt):
    """Ids up to and with the end of sequence, the logit of each, and the smallest lead over the second best."""
    ids, values, lead = list(prompt), [], math.inf
    for _ in range(NEW_TOKENS):
        best = torch.topk(logits(model, [ids])[0, -1], 2)
        ids.append(int(best.indices[0]))
        values.append(float(best.values[0]))
        lead = min(lead, float(best.values[0] - best.values[1]))
        if ids[-1] == EOS:
            break
    return ids[len(prompt):], values, lead


def random_ids(draw, length):
    return [int(i) for i in draw.integers(2, VOCAB - 1, length)]


def generation(model32, model64, draw):
    prompts, outputs, values, rejected = [], [], [], 0
    while len(prompts) < PROMPTS:
        # One prompt has one token.
        prompt = random_ids(draw, 1 if len(prompts) == 2 else int(draw.integers(2, 24, 1)[0]))
        ids, own, lead = greedy(model64, prompt)
        if lead < LEAD:
            rejected += 1
            assert rejected < 200, "too few prompts with a clear lead"
            continue
        prompts.append(prompt), outputs.append(ids), values.append(own)
    settings = {"do_sample": False, "num_beams": 1, "max_new_tokens": NEW_TOKENS, "pad_token_id": PAD, "eos_token_id": EOS}
    longest = max(map(len, prompts))
    left = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    batch = model32.generate(input_ids=left, attention_mask=mask, **settings)[:, longest:].tolist()
    for prompt, ids, together in zip(prompts, outputs, batch):
        alone = model32.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                 **settings)[0, len(prompt):].tolist()
        assert alone == ids and together[:len(ids)] == ids, f"generate() says {alone} and {together}, the loop in float64 {ids}"
    print(f"  {PROMPTS} prompts of {min(map(len, prompts))} to {longest} tokens, {rejected} rejected; {len({tuple(o) for o in outputs})} different "
          f"outputs of {min(map(len, outputs))} to {max(map(len, outputs))} tokens, {len({i for o in outputs for i in o})} different ids, "
          f"{sum(o[-1] == EOS for o in outputs)} end by themselves", file=sys.stderr)
    return {"generate.promptIds": padded(prompts, PAD, np.int32), "generate.promptLengths": lengths(prompts),
            "generate.ids": padded(outputs, PAD, np.int32), "generate.lengths": lengths(outputs),
            "generate.logits": padded(values, 0.0, np.float32)}


def lengths(rows):
    return np.array([len(row) for row in rows], np.int32)


def padded(rows, fill, dtype):
    longest = max(map(len, rows))
    return np.array([list(row) + [fill] * (longest - len(row)) for row in rows], dtype)


def goldens_of(name, config, file):
    model32 = load(config, file, torch.float32, "eager")
    model64 = in_float64(load(config, file, torch.float64, "oracle"))
    sizes = [18, 5, 11, 1]
    padding = [max(sizes) - n for n in sizes]
    mask = [[0] * p + [1] * n for p, n in zip(padding, sizes)]
    valid = torch.tensor(mask).bool()
    for attempt in range(100):
        draw = Draw(f"causal {name} prompts", attempt)
        ids = [[PAD] * p + random_ids(draw, n) for p, n in zip(padding, sizes)]
        Oracle.attention, Oracle.feed_forward, Oracle.gap = TOP_K[name]["attention"]["k"], TOP_K[name]["feedForward"], math.inf
        top = logits(model64, ids, mask)
        Oracle.attention = Oracle.feed_forward = None
        if Oracle.gap >= GAP:
            break
    exact, ours = logits(model64, ids, mask), logits(model32, ids, mask).double()
    worst = float((exact - ours)[valid].abs().max())
    print(f"  {name}: float32 logits within {worst:.1e} of float64, largest {float(exact[valid].abs().max()):.2f}, top-k moves them by up to "
          f"{float((top - exact)[valid].abs().max()):.2f}", file=sys.stderr)
    assert worst < 3e-5
    for row, n in enumerate(sizes):
        alone = logits(model64, [ids[row][-n:]])
        assert torch.allclose(alone[0], exact[row, -n:], atol=1e-10), "a padded batch equals batch 1"
    long = [random_ids(draw, 60)]
    arrays = {"batch.tokens": np.array(ids, np.int32), "batch.leftPadding": np.array(padding, np.int32),
              "batch.logits": exact.float().numpy(), "topK.logits": top.float().numpy(),
              "long.tokens": np.array(long, np.int32), "long.leftPadding": np.zeros(1, np.int32),
              "long.logits": logits(model64, long)[:, -12:].float().numpy()}
    return arrays | generation(model32, model64, draw)


NOTES = {
    "batch": "rows of 18, 5, 11 and 1 tokens, padded on the left: compare logits only behind the padding",
    "topK": "the batch with top-k in every layer, as in the model's topK",
    "long": "60 tokens: logits of the last 12",
    "generate": f"greedy, at most {NEW_TOKENS} new tokens: ids up to and with the end of sequence, then padding; logits of the chosen ids",
}


def build():
    files, goldens, entries = {}, {}, []
    for name, settings in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(settings))
            weights = random_weights(AutoConfig.from_pretrained(folder), name)
        if name == "gpt2-variant":
            # As models saved without their head are named, and with the masks that old files hold.
            weights = {n.removeprefix("transformer."): t for n, t in weights.items()}
            file = save_torch(weights, metadata={"format": "pt"})
            masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril().half() for i in range(2)}
            stored = save_torch({**weights, **masks}, metadata={"format": "pt"})
            # transformers finds the names only with the prefix, because this file has a head.
            file = save_torch({n if n == "lm_head.weight" else f"transformer.{n}": t for n, t in weights.items()}, metadata={"format": "pt"})
        else:
            stored = file = save_torch(weights, metadata={"format": "pt"})
        config = dict(sorted({**settings, "dtype": "float16"}.items()))
        files[f"{name}/config.json"] = pretty(config).encode() + b"\n"
        files[f"{name}/model.safetensors"] = stored
        goldens[f"{name}/goldens.safetensors"] = goldens_of(name, config, file)
        entries.append({"model": name, "topK": TOP_K[name]})
    manifest = {"version": 1, "generator": "tooling/goldens/causal_lm.py", "transformers": transformers.__version__,
                "torch": torch.__version__, "maxNewTokens": NEW_TOKENS, "lead": LEAD, "notes": NOTES, "models": entries}
    return files, goldens, manifest


def write(files, goldens, manifest):
    everything = {**files, **{p: save(a) for p, a in goldens.items()}, "manifest.json": pretty(manifest).encode() + b"\n"}
    for path, data in everything.items():
        (OUT / path).parent.mkdir(parents=True, exist_ok=True)
        (OUT / path).write_bytes(data)
    print(f"{len(everything)} files, {sum(map(len, everything.values())):,} bytes in {OUT}")


def check(files, goldens, manifest):
    faults = [f"{path} differs" for path, data in files.items()
              if not (OUT / path).exists() or (OUT / path).read_bytes() != data]
    for path, arrays in goldens.items():
        faults += compare_tensors(path, load_file(OUT / path), arrays, 1e-6) if (OUT / path).exists() else [f"{path} missing"]
    stored, made = json.loads((OUT / "manifest.json").read_text()), json.loads(json.dumps(manifest))
    faults += [f"manifest: {k} differs" for k in made if k not in ("torch", "transformers") and stored.get(k) != made[k]]
    print("\n".join(faults) or f"{len(files) + len(goldens) + 1} files agree")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files present instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = build()
    sys.exit(check(*result) if arguments.check else write(*result))
