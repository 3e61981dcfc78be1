"""Golden values for the variants of T5 from Python transformers: mT5, ByT5 and forms of `feed_forward_proj`.

    python tooling/goldens/t5_variants.py                write tooling/t5-goldens/goldens/t5-variants
    python tooling/goldens/t5_variants.py --check        make them in memory and compare

Small random models in float16 as Hugging Face folders. Logits are computed in float64 by transformers and a second time from the
equations in t5_formulas.py; generated ids are greedy, from generate() in float32 and from a plain loop in float64. Where a folder has
the byte tokenizer of ByT5, there are texts with the ids and the decoded texts of Python's.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from types import MethodType

import torch
import transformers
from safetensors.torch import load as load_torch
from safetensors.torch import save as save_torch
from transformers import AutoModelForSeq2SeqLM, ByT5Tokenizer

import causal_lm
import t5
from philox import Draw
from store import pretty
from t5_formulas import T5

OUT = t5.OUT / "t5-variants"
PROMPTS = 4

SMALL = {**t5.COMMON, "d_ff": 40, "d_kv": 8, "d_model": 24, "num_decoder_layers": 1, "num_heads": 3,
         "relative_attention_max_distance": 64, "relative_attention_num_buckets": 16}
MODELS = {
    # Says nothing of its feed-forward layers, and is never scaled.
    "mt5": {**SMALL, "architectures": ["MT5ForConditionalGeneration"], "model_type": "mt5", "num_decoder_layers": 2,
            "tie_word_embeddings": False},
    "mt5-tied": {**SMALL, "architectures": ["MT5ForConditionalGeneration"], "model_type": "mt5", "num_decoder_layers": 2,
                 "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True},
    "byt5": {**SMALL, "feed_forward_proj": "gated-gelu", "num_layers": 3, "tie_word_embeddings": False,
             "tokenizer_class": "ByT5Tokenizer", "vocab_size": 384},
    "gated-silu": {**SMALL, "feed_forward_proj": "gated-silu", "tie_word_embeddings": True},
    "gelu": {**SMALL, "feed_forward_proj": "gelu", "tie_word_embeddings": True, "vocab_size": 136},
}

TEXTS = ["", "hé", "日本 👍\n", "a <pad> b  </s>  c", "<extra_id_0> x <extra_id_124>", "<extra_id_125> <extra_id_1", "a\ufffd\ufeffb", "ends</s>", "<unk>"]
BROKEN = [[228, 153], [233, 154], [242, 194, 192, 243, 162, 70], [1, 0, 70, 2], [198, 172, 172, 102]]


def load(config, file):
    models = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        (Path(folder) / "model.safetensors").write_bytes(file)
        for dtype in (torch.float32, torch.float64):
            model, info = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
            assert not info["missing_keys"], info
            models.append(model.eval())
    for module in models[1].modules():
        if type(module).__name__.endswith("LayerNorm"):
            module.forward = MethodType(lambda self, x: self.weight * x * torch.rsqrt(
                x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon), module)
    return models


def goldens_of(name, config, weights, file):
    model, model64 = load(config, file)
    equations = {"feed_forward_proj": "gated-gelu", **config}
    if config["model_type"] == "mt5":
        # Never scaled; where there is no head of its own, the embedding is one.
        equations["tie_word_embeddings"] = False
        weights = {"lm_head.weight": weights["shared.weight"], **weights}
    oracle = T5({n: w.double() for n, w in weights.items()}, equations)
    draw, vocab = Draw(f"variant {name}"), config["vocab_size"]
    sizes = [14, 5, 1]
    mask = [[int(j < n) for j in range(14)] for n in sizes]
    ids = [t5.random_ids(draw, n - 1, vocab) + [t5.EOS] + [t5.PAD] * (14 - n) for n in sizes]
    decoder = [[t5.PAD] + t5.random_ids(draw, 5, vocab) for _ in sizes]
    arrays = t5.forward_goldens(model64, oracle, "batch", ids, mask, decoder)
    arrays = {key: a.astype("float32") if a.dtype == "float64" else a for key, a in arrays.items()}
    made = t5.generation_goldens(model, model64, lambda _: t5.random_ids(draw, int(draw.integers(1, 30, 1)[0]), vocab) + [t5.EOS], PROMPTS)
    return arrays | made


def byte_tokenizer():
    tokenizer = ByT5Tokenizer()
    rows = [tokenizer(text).input_ids for text in TEXTS] + BROKEN
    return {"texts": [{"text": text, "ids": ids} for text, ids in zip(TEXTS, rows)],
            "decoded": [{"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)} for ids in rows]}


def build():
    files, goldens, entries = {}, {}, []
    for name, config in MODELS.items():
        weights = {n: w.half().contiguous() for n, w in t5.random_weights({"feed_forward_proj": "gated-gelu", **config}, f"variant {name}").items()}
        files[f"{name}/config.json"] = pretty(dict(sorted({**config, "dtype": "float16"}.items()))).encode() + b"\n"
        files[f"{name}/model.safetensors"] = save_torch(weights, metadata={"format": "pt"})
        if name == "byt5":
            # As published: no tokenizer.json, and no list of the extra ids.
            tokens = {"additional_special_tokens": [f"<extra_id_{i}>" for i in range(125)], "extra_ids": 125, "tokenizer_class": "ByT5Tokenizer"}
            files[f"{name}/tokenizer_config.json"] = pretty(tokens).encode() + b"\n"
        goldens[f"{name}/goldens.safetensors"] = goldens_of(name, config, load_torch(files[f"{name}/model.safetensors"]), files[f"{name}/model.safetensors"])
        entries.append(name)
    manifest = {"version": 1, "generator": "tooling/goldens/t5_variants.py", "transformers": transformers.__version__,
                "torch": torch.__version__, "maxNewTokens": t5.NEW_TOKENS, "models": entries, "byteTokenizer": byte_tokenizer()}
    return files, goldens, manifest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files present instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    causal_lm.OUT = OUT
    result = build()
    sys.exit(causal_lm.check(*result) if arguments.check else causal_lm.write(*result))
