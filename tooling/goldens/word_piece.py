#!/usr/bin/env python3
"""Ids that transformers makes of texts with a vocab.txt of BERT's kind.

  word_piece.py            writes packages/models/test/goldens/word-piece
  word_piece.py --check    makes them in memory and compares

`vocab.txt` has the pieces of encoder_texts.py; the ids are for settings of tokenizer_config.json. Needs transformers.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

from transformers import BertTokenizerFast

from encoder_texts import TEXTS, word_pieces

TARGET = pathlib.Path(__file__).resolve().parents[2] / "packages/models/test/goldens/word-piece"

SETTINGS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": False, "strip_accents": True},
    {"strip_accents": False},
    {"tokenize_chinese_chars": False},
    {"cls_token": "[START]", "sep_token": {"content": "[END]", "__type": "AddedToken"}},
]


def made():
    pieces = [*word_pieces(True), *sorted(set(word_pieces(False)) - set(word_pieces(True))), "[START]", "[END]"]
    vocabulary = "".join(f"{piece}\n" for piece in pieces)
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "vocab.txt").write_text(vocabulary, encoding="utf-8")
        for settings in SETTINGS:
            config = {"tokenizer_class": "BertTokenizer", **settings}
            (path / "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = BertTokenizerFast.from_pretrained(folder)
            pair = tokenizer("who went?", "Mary.")
            cases.append(
                {
                    "settings": settings,
                    "ids": [tokenizer(text)["input_ids"] for text in TEXTS],
                    "pair": {"ids": pair["input_ids"], "types": pair["token_type_ids"]},
                }
            )
    return vocabulary, {"texts": TEXTS, "cases": cases}


def main():
    vocabulary, cases = made()
    text = json.dumps(cases, ensure_ascii=True, separators=(",", ":")) + "\n"
    files = {"vocab.txt": vocabulary, "word-piece.json": text}
    if "--check" in sys.argv:
        for name, wanted in files.items():
            assert (TARGET / name).read_text(encoding="utf-8") == wanted, name
        print("equal")
        return
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (TARGET / name).write_text(content, encoding="utf-8")


main()
