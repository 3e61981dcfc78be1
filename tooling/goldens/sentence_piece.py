#!/usr/bin/env python3
"""A small spiece.model, what Python's tokenizers makes of texts with it, and of random Unicode with T5's own.

  sentence_piece.py [FOLDER]   writes packages/models/test/goldens/older; FOLDER has T5's published tokenizer.json

The checkpoint in `older` is one of the kind that has neither tokenizer.json nor safetensors: config.json,
pytorch_model.bin and spiece.model, random and tiny. `older.json` has, made by transformers and tokenizers: texts with
their ids, and greedy ids of a few prompts. `published.json` has random texts with their ids in the vocabulary of FOLDER;
it is written only where FOLDER is given. Needs torch, transformers, tokenizers and protobuf.
"""

from __future__ import annotations

import json
import pathlib
import random
import re
import struct
import sys
import types

import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.convert_slow_tokenizer import T5Converter, import_protobuf
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "packages/models/test/goldens/older"
EXTRA_IDS = 100

# What the small model's normalisation maps; the empty text takes a character away.
MAPPING = {
    "\t": " ",
    "\n": " ",
    "\r": " ",
    "\u00a0": " ",
    "\u3000": " ",
    "\u200b": "",
    "\ufb01": "fi",
    "\u00e9": "e\u0301",
    "e\u0301": "\u00e9",
    "\uff21": "A",
    "\u2460": "1",
    "\u212b": "\u00c5",
    "\U0001d400": "A",
    "\u1100\u1161": "\uac00",
    "a\u0308": "\u00e4",
}


def double_array(mapping):
    """Darts-clone's double array of UTF-8 keys, and the texts they stand for. Places are searched first-fit."""
    texts = bytearray()
    values = {}
    for key, text in mapping.items():
        values[key.encode()] = len(texts)
        texts += text.encode() + b"\0"
    root = {}
    for key, value in values.items():
        node = root
        for byte in key:
            node = node.setdefault(byte, {})
        node[0] = value
    units = [0] * 256
    used = [False] * 256
    used[0] = True

    def place(node, at):
        # Children stand at (at ^ offset) ^ label; the leaf at (at ^ offset).
        labels = sorted(node)
        offset = 1
        while True:
            base = at ^ offset
            needed = [base ^ label for label in labels]
            while len(units) <= max(needed) | 255:
                units.extend([0] * 256)
                used.extend([False] * 256)
            if offset < (1 << 21) and not any(used[one] for one in needed):
                break
            offset += 1
        for one in needed:
            used[one] = True
        units[at] |= offset << 10
        if 0 in node:
            units[at] |= 1 << 8
            units[base] = node[0] | (1 << 31)
        for label in labels:
            if label == 0:
                continue
            units[base ^ label] |= label
            place(node[label], base ^ label)

    place(root, 0)
    # Free units must not look like children.
    for at, is_used in enumerate(used):
        if not is_used:
            units[at] = 0xFF ^ (at & 0xFF) | (1 << 31)
    blob = b"".join(struct.pack("<I", unit) for unit in units)
    return struct.pack("<I", len(blob)) + blob + bytes(texts)


def small_model():
    proto = import_protobuf().ModelProto()
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
    pieces += [("\u2581", -2.0, 1), ("\u2581the", -3.0, 1), ("\u2581a", -3.25, 1), ("fi", -4.0, 1), ("ng", -4.5, 1)]
    pieces += [("\u2581where", -5.0, 1), ("\u2581is", -4.0, 1), ("e\u0301", -6.0, 1), ("\u00e9", -5.5, 1)]
    pieces += [("<mine>", 0.0, 4), ("\u00e4", -6.0, 1), ("\uac00", -7.0, 1), ("\u2581\u2581", -9.0, 1)]
    pieces += [(letter, -6.0 - index / 8, 1) for index, letter in enumerate("abcdefghiklmnorstuwy?.A1")]
    for text, score, kind in pieces:
        proto.pieces.add(piece=text, score=score, type=kind)
    proto.trainer_spec.model_type = 1
    proto.trainer_spec.unk_id = 2
    proto.trainer_spec.eos_id = 1
    proto.trainer_spec.pad_id = 0
    proto.normalizer_spec.name = "small"
    proto.normalizer_spec.precompiled_charsmap = double_array(MAPPING)
    return proto.SerializeToString()


def converted(path, length):
    """What transformers makes of a spiece.model of T5."""
    slow = types.SimpleNamespace(
        vocab_file=str(path), _extra_ids=EXTRA_IDS, legacy=True, convert_tokens_to_ids=lambda _: 1
    )
    tokenizer = T5Converter(slow).converted()
    from tokenizers import AddedToken

    added = ["<unk>", *(f"<extra_id_{i}>" for i in range(EXTRA_IDS - 1, -1, -1))]
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False, lstrip="extra" in text, rstrip="extra" in text) for text in added]
    )
    assert tokenizer.get_vocab_size() == length + EXTRA_IDS
    return tokenizer


def random_texts(seed, count):
    draw = random.Random(seed)

    def character():
        kind = draw.random()
        if kind < 0.4:
            return draw.choice("abc e fi the  where is\n\t")
        if kind < 0.55:
            low, high = draw.choice([(0x80, 0x600), (0x900, 0x980), (0x1E00, 0x2C00), (0x3000, 0x3400), (0xF900, 0xFFFE)])
            return chr(draw.randrange(low, high))
        if kind < 0.8:
            return draw.choice(
                "\u0301\u0308\u0327\u0344\u0345\u1100\u1161\u11a8\u200b\u200d\ufeff\u00ad\u007f\u0085\u2028\u3000\u00a0"
                "\u00e9\ufb01\uff21\u2460\u212b\U0001d400\r\n\u0600\U0001f468\U0001f1e9"
            )
        if kind < 0.85:
            return draw.choice(["<extra_id_0>", "<extra_id_99> ", " </s>", "<mine>", "<unk>", "<extra_id_100>"])
        if kind < 0.95:
            return chr(draw.randrange(0xAC00, 0xD7A4))
        return chr(draw.randrange(0x10000, 0x20000))

    texts = ["".join(character() for _ in range(draw.randrange(0, 24))) for _ in range(count)]
    # Beside extra ids @huggingface/tokenizers strips what JavaScript calls white space, which differs in these two.
    return [re.sub("[\u0085\ufeff]", "", text) if "<extra_id" in text else text for text in texts]


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    data = small_model()
    (TARGET / "spiece.model").write_bytes(data)
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(data)
    tokenizer = converted(TARGET / "spiece.model", len(proto.pieces))
    texts = ["", " ", "where is the a", *MAPPING, *random_texts(5, 300)]
    torch.manual_seed(1)
    vocabulary = len(proto.pieces) + EXTRA_IDS
    config = T5Config(
        vocab_size=vocabulary + 4,
        d_model=16,
        d_kv=4,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.5)
    state = model.state_dict()
    torch.save(state, TARGET / "pytorch_model.bin")
    saved = {key: value for key, value in config.to_dict().items() if not isinstance(value, (dict, list)) or key == "architectures"}
    saved["model_type"] = "t5"
    keys = ("d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "vocab_size", "model_type")
    keys += ("relative_attention_num_buckets", "relative_attention_max_distance", "feed_forward_proj")
    keys += ("decoder_start_token_id", "eos_token_id", "pad_token_id", "layer_norm_epsilon", "dropout_rate")
    (TARGET / "config.json").write_text(json.dumps({key: saved[key] for key in keys if key in saved}, indent=1) + "\n")
    answers = []
    for text in texts[2:8]:
        ids = tokenizer.encode(text).ids
        made = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, num_beams=1)[0].tolist()
        answers.append({"source": ids, "target": made[1:]})
    golden = {
        "texts": [[text, tokenizer.encode(text).ids, tokenizer.decode(tokenizer.encode(text).ids)] for text in texts],
        "answers": answers,
    }
    (TARGET / "older.json").write_text(json.dumps(golden) + "\n")
    if len(sys.argv) > 1:
        published = Tokenizer.from_file(f"{sys.argv[1]}/tokenizer.json")
        pairs = [[text, published.encode(text).ids] for text in random_texts(6, 500)]
        (TARGET / "published.json").write_text(json.dumps(pairs) + "\n")


main()
