"""Writes the running average as a Hugging Face T5 folder in f16.

    python export.py --checkpoint OUT --tokenizer CACHE/tokenizer.json --to ../../apps/qa-demo/model
"""
from __future__ import annotations

import argparse
import json
import os
import shutil

import torch

import checkpoint
import model as M
from text import EOS, PAD


def config_json(config: M.Config) -> dict:
    return {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True,
        "vocab_size": config.vocab, "d_model": config.width, "d_kv": config.head_width, "d_ff": config.hidden,
        "num_layers": config.encoder_layers, "num_decoder_layers": config.decoder_layers, "num_heads": config.heads,
        "relative_attention_num_buckets": config.buckets, "relative_attention_max_distance": config.max_distance,
        "dropout_rate": 0.0, "layer_norm_epsilon": M.EPSILON, "initializer_factor": 1.0, "feed_forward_proj": "relu",
        "is_gated_act": False, "dense_act_fn": "relu", "tie_word_embeddings": True, "use_cache": True,
        "pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD, "n_positions": 4096, "torch_dtype": "float16",
    }


def main() -> None:
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--to", required=True)
    args = parser.parse_args()
    p, config, _ = checkpoint.load_average(args.checkpoint)
    os.makedirs(args.to, exist_ok=True)
    weights = {k: v.half().contiguous().clone() for k, v in M.to_hugging_face(p, config).items()}
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} does not fit in f16")
    save_file(weights, os.path.join(args.to, "model.safetensors"), metadata={"format": "pt"})
    shutil.copy(args.tokenizer, os.path.join(args.to, "tokenizer.json"))
    files = {
        "config.json": config_json(config),
        "generation_config.json": {"decoder_start_token_id": PAD, "eos_token_id": EOS, "pad_token_id": PAD, "max_new_tokens": 20},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>",
                                  "unk_token": "<unk>", "model_max_length": 4096, "clean_up_tokenization_spaces": False},
        "special_tokens_map.json": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    }
    for name, value in files.items():
        with open(os.path.join(args.to, name), "w") as handle:
            json.dump(value, handle, indent=2)
            handle.write("\n")
    size = sum(os.path.getsize(os.path.join(args.to, f)) for f in os.listdir(args.to))
    print(f"{sum(v.numel() for v in weights.values())} parameters, folder {size} bytes")
    if size > 16_000_000:
        raise SystemExit("the folder is over 16,000,000 bytes")


if __name__ == "__main__":
    main()
