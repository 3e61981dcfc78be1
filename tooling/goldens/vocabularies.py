#!/usr/bin/env python3
"""Ids that transformers makes of texts with vocabularies of BERT's, GPT-2's and RoBERTa's kind, without tokenizer.json.

  vocabularies.py            writes packages/models/test/goldens/vocabularies
  vocabularies.py --check    makes them in memory and compares

`vocab.txt`, and `vocab.json` with `merges.txt`, have the pieces of encoder_texts.py. A case has the other files of a
folder, and ids of all texts. Needs transformers.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

from encoder_texts import TEXTS, byte_pairs, word_pieces

TARGET = pathlib.Path(__file__).resolve().parents[2] / "packages/models/test/goldens/vocabularies"
MORE = ["a <x>garden <y> <pad>", "the<|endoftext|>garden", "<s>in</s>"]

BERT = {"tokenizer_class": "BertTokenizer"}
GPT2 = {"tokenizer_class": "GPT2Tokenizer"}
ROBERTA = {"tokenizer_class": "RobertaTokenizer"}


def added(first):
    return {"<x>": first, "<y>": first + 1}


def cases(words, pairs):
    """Kind of the vocabulary, and the other files."""
    config, tokens, more = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
    settings = [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"cls_token": "[START]", "sep_token": {"content": "[END]", "__type": "AddedToken"}},
    ]
    yield from (("words", {config: {**BERT, **one}}) for one in settings)
    yield "words", {config: BERT, more: added(words), tokens: {"pad_token": "<x>", "cls_token": "[START]"}}
    yield "words", {"config.json": {"model_type": "distilbert"}, more: added(words)}
    yield "pairs", {config: GPT2}
    yield "pairs", {config: {**GPT2, "add_prefix_space": True}}
    yield "pairs", {config: {**GPT2, "add_bos_token": True, "bos_token": "<s>"}}
    yield "pairs", {"config.json": {"model_type": "gpt2"}, more: added(pairs), tokens: {"pad_token": "<x>"}}
    yield "pairs", {config: ROBERTA}
    yield "pairs", {config: {**ROBERTA, "add_prefix_space": True}, more: added(pairs)}
    yield "pairs", {"config.json": {"model_type": "roberta"}}


def vocabulary_of_pairs():
    alphabet = sorted(ByteLevel.alphabet())
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {b: chr(b) for b in printable}
    for n, b in enumerate(b for b in range(256) if b not in byte_of):
        byte_of[b] = chr(256 + n)
    assert sorted(byte_of.values()) == alphabet
    merges = byte_pairs(byte_of, 120)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>", *alphabet, *("".join(one) for one in merges)]
    return {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}, merges


def made():
    pieces = list(dict.fromkeys([*word_pieces(True), *word_pieces(False), "[START]", "[END]"]))
    pairs, merges = vocabulary_of_pairs()
    files = {
        "vocab.txt": "".join(f"{piece}\n" for piece in pieces),
        "vocab.json": json.dumps(pairs, ensure_ascii=False) + "\n",
        "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
    }
    texts = TEXTS + MORE
    found = []
    for kind, own in cases(len(pieces), len(pairs)):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            for name in ["vocab.txt"] if kind == "words" else ["vocab.json", "merges.txt"]:
                (path / name).write_text(files[name], encoding="utf-8")
            for name, content in own.items():
                (path / name).write_text(json.dumps(content))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            pair = tokenizer("who went?", "Mary.")["input_ids"]
            ids = [tokenizer(text)["input_ids"] for text in texts]
            found.append({"kind": kind, "files": own, "ids": ids, "pair": pair})
    return {**files, "vocabularies.json": json.dumps({"texts": texts, "cases": found}, separators=(",", ":")) + "\n"}


def main():
    files = made()
    if "--check" in sys.argv:
        for name, wanted in files.items():
            found = (TARGET / name).read_text(encoding="utf-8")
            # The formatter breaks lines of JSON.
            of = json.loads if name.endswith(".json") else str
            assert of(found) == of(wanted), name
        print("equal")
        return
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (TARGET / name).write_text(content, encoding="utf-8")


main()
