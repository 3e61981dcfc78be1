"""The checkpoint stories260K of llama2.c as a Hugging Face folder, and golden values for it from Python transformers.

    python tooling/goldens/stories260k.py DIR           write tooling/t5-goldens/goldens/stories260K
    python tooling/goldens/stories260k.py DIR --check   make it in memory and compare

DIR holds stories260K.bin and tok512.bin as karpathy/tinyllamas publishes them (MIT). The weights stay float32. llama2.c turns neighbouring elements of a head together, transformers those half a head
apart, so rows of queries and keys change places. The tokenizer's merges are all pairs of pieces that make a piece, the best
score first.

Goldens: the greedy text, and perplexities of that text against k in every attention layer and feed-forward layer, in float64.
"""

import argparse
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_torch
from tokenizers import Tokenizer

from causal_lm import Oracle, check, in_float64, load, logits
from store import pretty
import causal_lm

OUT = Path(__file__).resolve().parents[1] / "t5-goldens" / "goldens" / "stories260K"
BOS, NEW_TOKENS = 1, 300
# Of the text's first tokens there are perplexities too, for slow backends.
START = 64
KEPT = [64, 32, 16, 8, 4, 2, 1]

README = """# stories260K

A Transformer of Llama's type with 260,000 weights, trained by Andrej Karpathy on TinyStories:
[karpathy/tinyllamas](https://huggingface.co/karpathy/tinyllamas), published with [llama2.c](https://github.com/karpathy/llama2.c).
Converted by [stories260k.py](../../../goldens/stories260k.py), weights as published. For tests.

MIT License

Copyright (c) 2023 Andrej

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files
(the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so,
subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE
FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION
WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def read_weights(path):
    data = path.read_bytes()
    dim, hidden, layers, heads, shared, vocab, positions = struct.unpack("7i", data[:28])
    head = dim // heads
    rest, at = np.frombuffer(data, "<f4", offset=28), 0

    def take(*shape):
        nonlocal at
        size = math.prod(shape)
        at += size
        return torch.from_numpy(rest[at - size : at].reshape(shape).copy())

    def halves(weight, count):
        """Rows of each head: the first of every pair, then the second of every pair."""
        return weight.view(count, head // 2, 2, dim).transpose(1, 2).reshape(count * head, dim)

    weights = {"model.embed_tokens.weight": take(vocab, dim)}
    parts = [("input_layernorm", (dim,)), ("self_attn.q_proj", (dim, dim)), ("self_attn.k_proj", (shared * head, dim)),
             ("self_attn.v_proj", (shared * head, dim)), ("self_attn.o_proj", (dim, dim)), ("post_attention_layernorm", (dim,)),
             ("mlp.gate_proj", (hidden, dim)), ("mlp.down_proj", (dim, hidden)), ("mlp.up_proj", (hidden, dim))]
    for name, shape in parts:
        for layer, weight in enumerate(take(layers, *shape)):
            count = {"self_attn.q_proj": heads, "self_attn.k_proj": shared}.get(name)
            weights[f"model.layers.{layer}.{name}.weight"] = halves(weight, count) if count else weight
    weights["model.norm.weight"] = take(dim)
    assert vocab > 0 and at + positions * head == len(rest), "another layout"
    config = {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": BOS, "dtype": "float32", "eos_token_id": 2,
              "hidden_act": "silu", "hidden_size": dim, "intermediate_size": hidden, "max_position_embeddings": positions,
              "mlp_bias": False, "model_type": "llama", "num_attention_heads": heads, "num_hidden_layers": layers,
              "num_key_value_heads": shared, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": True,
              "vocab_size": vocab}
    return config, {name: weight.contiguous() for name, weight in sorted(weights.items())}


def read_pieces(path, count):
    data, at, pieces = path.read_bytes(), 4, []
    for _ in range(count):
        score, length = struct.unpack("<fi", data[at : at + 8])
        pieces.append((data[at + 8 : at + 8 + length].decode(), score))
        at += 8 + length
    return pieces


def tokenizer_of(pieces):
    """tokenizer.json as transformers writes it for SentencePiece's BPE."""
    names = ["<unk>", "<s>", "</s>"] + [text if i < 256 else text.replace(" ", "▁") for i, (text, _) in enumerate(pieces[3:])]
    ids = {name: i for i, name in enumerate(names)}
    assert len(ids) == len(pieces), "a piece twice"
    merges = []
    for name, (_, score) in zip(names, pieces):
        own = [(name[:cut], name[cut:]) for cut in range(1, len(name)) if name[:cut] in ids and name[cut:] in ids]
        merges += [(-score, ids[a], ids[b], a, b) for a, b in own if not name.startswith("<0x") and ids[name] > 2]
    added = [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, name in enumerate(names[:3])]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": ids,
                  "merges": [f"{a} {b}" for *_, a, b in sorted(merges)]},
    }


def encode_as_llama2c(text, pieces):
    """llama2.c's own way: characters or bytes, then the pair whose piece has the best score, again and again."""
    scores, ids = {}, {}
    for i, (piece, score) in enumerate(pieces):
        ids.setdefault(piece, i)
        scores[i] = score
    tokens = []
    for character in " " + text:
        tokens += [ids[character]] if character in ids else [byte + 3 for byte in character.encode()]
    while True:
        found = [(scores[ids[pieces[a][0] + pieces[b][0]]], -at) for at, (a, b) in enumerate(zip(tokens, tokens[1:]))
                 if pieces[a][0] + pieces[b][0] in ids]
        if not found:
            return [BOS, *tokens]
        at = -max(found)[1]
        tokens[at : at + 2] = [ids[pieces[tokens[at]][0] + pieces[tokens[at + 1]][0]]]


def perplexity(model, texts):
    losses = [torch.nn.functional.cross_entropy(logits(model, [ids])[0, :-1].double(), torch.tensor(ids[1:]), reduction="none")
              for ids in texts]
    return float(torch.cat(losses).mean().exp())


def kept_perplexities(model, texts, select):
    """By k, of attention where `select` is None, else of feed-forward layers."""
    values = {}
    for k in KEPT if select is None else [k for k in KEPT if k >= 4]:
        Oracle.attention, Oracle.feed_forward = (k, None) if select is None else (None, {"k": k, "select": select})
        values[str(k)] = perplexity(model, texts)
    Oracle.attention = Oracle.feed_forward = None
    return values


def build(folder, samples):
    config, weights = read_weights(folder / "stories260K.bin")
    pieces = read_pieces(folder / "tok512.bin", config["vocab_size"])
    definition = json.dumps(tokenizer_of(pieces), ensure_ascii=False, indent=1)
    tokenizer = Tokenizer.from_str(definition)
    file = save_torch(weights, metadata={"format": "pt"})
    model32 = load(config, file, torch.float32, "eager")
    model64 = in_float64(load(config, file, torch.float64, "oracle"))
    ids = model32.generate(input_ids=torch.tensor([[BOS]]), attention_mask=torch.ones(1, 1, dtype=torch.long), do_sample=False,
                           max_new_tokens=NEW_TOKENS, pad_token_id=2)[0].tolist()
    lead = torch.topk(logits(model64, [ids])[0, :-1], 2)
    assert lead.indices[:, 0].tolist() == ids[1:], "float64 goes another way"
    text = tokenizer.decode(ids)
    for probe in [text, "  two  spaces ", "Ünïcode, “quotes” and 日本\n\n1.5 km"]:
        assert tokenizer.encode(probe).ids == encode_as_llama2c(probe, pieces), probe
    assert tokenizer.encode("").ids == [BOS]
    assert tokenizer.encode(text).ids == ids, "the text's own ids"
    closest = float((lead.values[:, 0] - lead.values[:, 1]).min())
    print(f"  {len(ids) - 1} tokens, the best leads by at least {closest:.4f}; {text[:90]!r}", file=sys.stderr)
    manifest = {"version": 1, "generator": "tooling/goldens/stories260k.py", "ids": ids, "text": text, "closestLead": closest,
                "perplexity": {"exact": perplexity(model64, [ids]), "attention": kept_perplexities(model64, [ids], None),
                               "feedForward": kept_perplexities(model64, [ids], "contribution")}}
    start = [ids[: START + 1]]
    manifest["start"] = {"tokens": START, "perplexity": {"exact": perplexity(model64, start), "attention": kept_perplexities(model64, start, None),
                                                         "feedForward": kept_perplexities(model64, start, "contribution")}}
    print(" ", json.dumps(manifest["perplexity"]), file=sys.stderr)
    if samples:
        texts = [tokenizer.encode(t.strip()).ids[:400] for t in Path(samples).read_text().split("<|endoftext|>") if t.strip()]
        print(f"  {samples}: {sum(len(t) - 1 for t in texts)} tokens predicted; perplexity {perplexity(model64, texts):.4f}; attention "
              f"{kept_perplexities(model64, texts, None)}", file=sys.stderr)
    files = {"config.json": pretty(config).encode() + b"\n", "model.safetensors": file, "tokenizer.json": definition.encode() + b"\n",
             "README.md": README.encode()}
    return files, {}, manifest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with stories260K.bin and tok512.bin")
    parser.add_argument("--check", action="store_true", help="compare with the files present instead of writing them")
    parser.add_argument("--samples", help="a text file of stories separated by <|endoftext|>: prints perplexities of the first 400 tokens of each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    causal_lm.OUT = OUT
    result = build(arguments.folder, arguments.samples)
    sys.exit(check(*result) if arguments.check else causal_lm.write(*result))
