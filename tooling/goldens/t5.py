"""Golden values for T5 from Python transformers: small random models, broken files, and any local checkpoint.

    python tooling/goldens/t5.py                  write tooling/t5-goldens/goldens (but not its embedded folder)
    python tooling/goldens/t5.py --check          make them in memory and compare
    python tooling/goldens/t5.py --embedded DIR   goldens for a checkpoint with a tokenizer, into goldens/embedded

Every model is a folder that transformers loads. Encoder outputs and logits are computed in float64 from the stored weights
(eager attention), and a second time from the equations in t5_formulas.py, which also gives the values with top-k. Generated
ids are greedy, come from transformers' own generate() in float32, and must equal a plain greedy loop in float64. Prompts are
drawn so that at every step the best logit leads by at least LEAD: a port whose logits are right within 1e-4 finds the
same ids.
"""

import argparse
import json
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
from safetensors.torch import load as load_torch
from safetensors.torch import save as save_torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5LayerNorm

from philox import Draw
from store import compare_tensors, pretty
from t5_broken import broken_files
from t5_formulas import T5

OUT = Path(__file__).resolve().parents[1] / "t5-goldens" / "goldens"
PROMPTS, NEW_TOKENS, LEAD, GAP = 50, 20, 2e-3, 1e-5
PAD, EOS = 0, 1

COMMON = {"architectures": ["T5ForConditionalGeneration"], "decoder_start_token_id": PAD, "dropout_rate": 0.1,
          "eos_token_id": EOS, "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06,
          "model_type": "t5", "num_layers": 2, "pad_token_id": PAD, "use_cache": True, "vocab_size": 128}
MODELS = {
    "t5-v1_0": {**COMMON, "d_ff": 96, "d_kv": 12, "d_model": 48, "feed_forward_proj": "relu", "num_decoder_layers": 2,
                "num_heads": 3, "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
                "tie_word_embeddings": True},
    "t5-v1_1": {**COMMON, "d_ff": 72, "d_kv": 16, "d_model": 40, "feed_forward_proj": "gated-gelu", "num_decoder_layers": 3,
                "num_heads": 4, "relative_attention_max_distance": 64, "relative_attention_num_buckets": 16,
                "tie_word_embeddings": False},
}
# Among the first few seeds, those whose generated ids vary most from prompt to prompt.
SEEDS = {"t5-v1_0": 0, "t5-v1_1": 3}
# Only a carrier for the broken files.
NANO = {**COMMON, "d_ff": 24, "d_kv": 4, "d_model": 16, "feed_forward_proj": "relu", "num_decoder_layers": 1, "num_heads": 2,
        "num_layers": 1, "relative_attention_max_distance": 16, "relative_attention_num_buckets": 8,
        "tie_word_embeddings": True, "vocab_size": 32}
TOP_K = {
    "t5-v1_0": {"attention": {"k": 4}, "feedForward": {"k": 12, "select": "preactivation"}},
    "t5-v1_1": {"attention": {"k": 4}, "feedForward": {"k": 12, "select": "contribution"}},
}


def random_weights(config, name):
    """Weights from our own random numbers, in sizes that keep activations near 1 and let the output depend on the prompt."""
    draw = Draw(name)
    names = {n: tuple(p.shape) for n, p in T5ForConditionalGeneration(T5Config(**config)).named_parameters()}
    if not config["tie_word_embeddings"]:
        names["lm_head.weight"] = (config["vocab_size"], config["d_model"])
    inner, model = config["d_kv"] * config["num_heads"], config["d_model"]
    weights = {}
    for key, shape in sorted(names.items()):
        unit = torch.from_numpy(draw.uniform(*shape)) / 1.155
        if key == "decoder.final_layer_norm.weight":
            unit = 4.0 + 0.8 * unit
        elif "layer_norm" in key:
            unit = 1.0 + 0.2 * unit
        elif "relative_attention_bias" in key:
            unit = unit * 0.8
        else:
            rules = [("shared.weight", 0.4), ("lm_head.weight", 0.5 * model**-0.5), (".q.weight", 2.5 * (model * config["d_kv"]) ** -0.5),
                     ("EncDecAttention.o.weight", 4.0 * inner**-0.5), (".o.weight", 2.0 * inner**-0.5),
                     (".wo.weight", 1.2 * config["d_ff"] ** -0.5), ("", model**-0.5)]
            unit = unit * next(factor for ending, factor in rules if key.endswith(ending))
            if key in ("shared.weight", "lm_head.weight"):
                unit[EOS] *= 1.25  # so that some generations end by themselves
        weights[key] = unit.float().contiguous()
    return weights


def load(folder, dtype):
    """As a user of transformers loads it; in float64 also the norms, which transformers computes in float32."""
    model, info = T5ForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="eager",
                                                             output_loading_info=True)
    assert not info["missing_keys"], info
    if dtype == torch.float64:
        for module in model.modules():
            if isinstance(module, T5LayerNorm):
                module.forward = MethodType(lambda self, x: self.weight * x * torch.rsqrt(
                    x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon), module)
    return model.eval()


def load_bytes(config, file):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        (Path(folder) / "model.safetensors").write_bytes(file)
        return load(folder, torch.float32), load(folder, torch.float64)


@torch.no_grad()
def forward_goldens(model64, oracle, prefix, ids, mask, decoder_ids):
    ids, mask, decoder_ids = (torch.from_numpy(np.asarray(a)) for a in (ids, mask, decoder_ids))
    result = model64(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False)
    memory = oracle.encode(ids, mask.bool())
    logits = oracle.decode(decoder_ids, memory, mask.bool())
    valid = mask.bool()
    assert torch.allclose(memory[valid], result.encoder_last_hidden_state[valid], atol=1e-10), "encoder: two oracles differ"
    assert torch.allclose(logits, result.logits, atol=1e-10), "logits: two oracles differ"
    return {f"{prefix}.inputIds": ids.int().numpy(), f"{prefix}.attentionMask": valid.numpy(),
            f"{prefix}.decoderInputIds": decoder_ids.int().numpy(),
            f"{prefix}.encoderOutput": result.encoder_last_hidden_state.numpy(), f"{prefix}.logits": result.logits.numpy()}


@torch.no_grad()
def greedy(model64, prompt, new_tokens=NEW_TOKENS):
    """Ids up to and with the end of sequence, the logit of each, and the smallest lead over the second best."""
    state = model64.encoder(input_ids=torch.tensor([prompt])).last_hidden_state
    ids, logits, lead = [model64.config.decoder_start_token_id], [], np.inf
    for _ in range(new_tokens):
        row = model64(encoder_outputs=(state,), decoder_input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        best = torch.topk(row, 2)
        ids.append(int(best.indices[0]))
        logits.append(float(best.values[0]))
        lead = min(lead, float(best.values[0] - best.values[1]))
        if ids[-1] == model64.config.eos_token_id:
            break
    return ids[1:], logits, lead


def generation_goldens(model, model64, propose, count=PROMPTS, lead=LEAD):
    """Greedy ids for `count` prompts with a clear lead at every step. propose(accepted so far) makes the next prompt."""
    # The cache of transformers has as many layers as the encoder, and fails where the decoder has more.
    caches = model.config.num_decoder_layers == model.config.num_layers
    prompts, outputs, logits, rejected = [], [], [], 0
    while len(prompts) < count and rejected < 10 * count:
        prompt = propose(len(prompts))
        ids, values, leads = greedy(model64, prompt)
        if leads < lead:
            rejected += 1
            continue
        theirs = model.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                do_sample=False, num_beams=1, use_cache=caches, max_new_tokens=NEW_TOKENS)[0, 1:].tolist()
        assert theirs == ids, f"generate() says {theirs}, the loop in float64 {ids}"
        prompts.append(prompt), outputs.append(ids), logits.append(values)
    assert len(prompts) == count, f"only {len(prompts)} prompts with a clear lead"
    end = model.config.eos_token_id
    print(f"  {count} prompts of {min(map(len, prompts))} to {max(map(len, prompts))} tokens, {rejected} rejected for a lead "
          f"below {lead}; {len({tuple(o) for o in outputs})} different outputs of {min(map(len, outputs))} to "
          f"{max(map(len, outputs))} tokens, {len({i for o in outputs for i in o})} different ids, "
          f"{sum(o[-1] == end for o in outputs)} end by themselves", file=sys.stderr)
    return {"generate.promptIds": padded(prompts, PAD, np.int32), "generate.promptLengths": lengths(prompts),
            "generate.ids": padded(outputs, PAD, np.int32), "generate.lengths": lengths(outputs),
            "generate.logits": padded(logits, 0.0, np.float64)}


def lengths(rows):
    return np.array([len(row) for row in rows], np.int32)


def padded(rows, fill, dtype):
    longest = max(map(len, rows))
    return np.array([list(row) + [fill] * (longest - len(row)) for row in rows], dtype)


def random_ids(draw, length, vocab=128, low=2):
    return [int(i) for i in draw.integers(low, vocab - 1, length)]


def top_k_goldens(weights, config, options, ids, mask, decoder_ids):
    """The batch again with top-k in every layer, or None if scores at a boundary lie too close."""
    oracle = T5(weights, config, options["attention"]["k"], options["feedForward"])
    memory = oracle.encode(torch.tensor(ids), torch.tensor(mask).bool())
    logits = oracle.decode(torch.tensor(decoder_ids), memory, torch.tensor(mask).bool())
    if oracle.gap < GAP:
        return None
    return {"topK.encoderOutput": memory.numpy(), "topK.logits": logits.numpy()}


def small_goldens(name, config, file, full):
    base = name.removesuffix("-bf16").removesuffix("-f16")
    model, model64 = load_bytes(config, file)
    weights = {n: t.double() for n, t in load_torch(file).items()}
    oracle = T5(weights, config)
    # One token alone; a batch padded to 31 with lengths 31, 5, 17 and 1; 120 tokens, past the last relative bucket.
    arrays = forward_goldens(model64, oracle, "one", [[7]], [[1]], [[PAD]])
    sizes = [31, 5, 17, 1]
    mask = [[int(j < n) for j in range(31)] for n in sizes]
    for attempt in range(100):
        draw = Draw(f"{base} prompts", attempt)
        ids = [random_ids(draw, n - 1) + [EOS] + [PAD] * (31 - n) for n in sizes]
        decoder = [[PAD] + random_ids(draw, 8) for _ in sizes]
        with_top_k = top_k_goldens(weights, config, TOP_K[base], ids, mask, decoder)
        if with_top_k:
            break
    arrays |= with_top_k
    arrays |= forward_goldens(model64, oracle, "batch", ids, mask, decoder)
    long = forward_goldens(model64, oracle, "long", [random_ids(draw, 119) + [EOS]], [[1] * 120], [[PAD] + random_ids(draw, 29)])
    arrays |= long if full else {}
    for i, n in enumerate(sizes):
        alone = forward_goldens(model64, oracle, "x", [ids[i][:n]], [[1] * n], [decoder[i]])
        assert np.allclose(alone["x.logits"][0], arrays["batch.logits"][i], atol=1e-10), "a padded batch equals batch 1"
    if full:
        arrays |= generation_goldens(
            model, model64, lambda _: random_ids(draw, int(draw.integers(1, 119, 1)[0])) + [EOS])
        with torch.no_grad():
            f32 = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), decoder_input_ids=torch.tensor(decoder),
                        use_cache=False).logits.double().numpy()
        worst = np.abs(f32 - arrays["batch.logits"]).max()
        print(f"  {name}: float32 logits within {worst:.1e} of float64, largest {np.abs(arrays['batch.logits']).max():.2f}, "
              f"top-k moves them by up to {np.abs(arrays['topK.logits'] - arrays['batch.logits']).max():.2f}", file=sys.stderr)
        assert worst < 2e-5
    return arrays


NOTES = {
    "one": "one token, one decoder step",
    "batch": "padded batch, lengths 31, 5, 17, 1; compare encoderOutput only where attentionMask is true",
    "topK": "the batch with top-k in every attention (encoder, decoder, cross) and feed-forward layer, as in the model's topK",
    "long": "120 tokens, past the last relative bucket, and 30 decoder tokens",
    "generate": "greedy, at most 20 new tokens: ids after the start token, up to and with the end of sequence, then padding; "
                "logits of the chosen ids",
}


def variants_of(name, weights):
    """Folder, dtype name, tensors, note."""
    yield name, "float32", weights, "float32"
    if name == "t5-v1_0":
        yield f"{name}-f16", "float16", {n: t.half() for n, t in weights.items()}, "weights of t5-v1_0 in float16"
        shared = weights["shared.weight"]
        # As original checkpoints have them; transformers ignores the last.
        copies = {f"{n}.weight": shared.clone() for n in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")}
        copies["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.ones(32, 3)
        yield (f"{name}-bf16", "bfloat16", {n: t.bfloat16() for n, t in {**weights, **copies}.items()},
               "weights of t5-v1_0 in bfloat16, with copies of the tied embedding and the unused relative bias of the "
               "cross-attention that original checkpoints carry: all to be accepted")


def build():
    """Files as bytes by path below OUT; the arrays of the goldens apart, to be compared by value; the manifest."""
    files, goldens, entries = {}, {}, []
    for name, config in MODELS.items():
        for folder, dtype, weights, note in variants_of(name, random_weights(config, f"{name} {SEEDS[name]}")):
            full = dtype == "float32"
            settings = dict(sorted({**config, "dtype": dtype}.items()))
            files[f"{folder}/config.json"] = pretty(settings).encode() + b"\n"
            files[f"{folder}/model.safetensors"] = save_torch(weights, metadata={"format": "pt"})
            goldens[f"{folder}/goldens.safetensors"] = small_goldens(folder, config, files[f"{folder}/model.safetensors"], full)
            entries.append({"model": folder, "goldens": f"{folder}/goldens.safetensors", "dtype": dtype, "notes": note,
                            "topK": TOP_K[name], "cases": [c for c in NOTES if full or c in ("one", "batch", "topK")]})
            if not config["tie_word_embeddings"]:
                # transformers 5 writes "tie_word_embeddings": true for every T5 and says here what it means.
                newer = {**settings, "scale_decoder_outputs": False, "tie_word_embeddings": True}
                files[f"{folder}/config.transformers-5.json"] = pretty(dict(sorted(newer.items()))).encode() + b"\n"
    broken, broken_entries = broken_files(random_weights(NANO, "nano"), {**NANO, "dtype": "float32"})
    files |= broken
    manifest = {"version": 1, "generator": "tooling/goldens/t5.py", "transformers": transformers.__version__,
                "torch": torch.__version__, "maxNewTokens": NEW_TOKENS, "lead": LEAD, "notes": NOTES, "models": entries,
                "broken": broken_entries}
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
        faults += compare_tensors(path, load_file(OUT / path), arrays, 1e-10) if (OUT / path).exists() else [f"{path} missing"]
    stored, made = json.loads((OUT / "manifest.json").read_text()), json.loads(json.dumps(manifest))
    faults += [f"manifest: {k} differs" for k in made if k not in ("torch", "transformers") and stored.get(k) != made[k]]
    print("\n".join(faults) or f"{len(files) + len(goldens) + 1} files agree")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files present instead of writing them")
    parser.add_argument("--embedded", metavar="DIR", help="a Hugging Face folder of a trained T5")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.embedded:
        from t5_embedded import embedded

        sys.exit(embedded(Path(arguments.embedded), OUT / "embedded", arguments.check))
    result = build()
    sys.exit(check(*result) if arguments.check else write(*result))
