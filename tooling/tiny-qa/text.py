"""Prose for the filling, the titles, and the tokenizer."""
from __future__ import annotations

import json
import os
import re
import unicodedata

PAD, EOS, UNK = 0, 1, 2
SEPARATOR = "\\n"  # UnifiedQA: the two characters backslash and n, not a line break
ADJECTIVES = ("red blue green white black brown golden silver old new small large long short wide narrow quiet loud warm cold "
              "dark bright soft hard heavy light round square broken hidden lost first second last northern southern "
              "eastern western early late").split()
NOUNS = ("notebook lamp letter diary map book clock mirror basket bottle blanket bridge button camera candle carpet chair "
         "coat coin cup curtain desk door drum engine fence flag flute garage gate glove hammer hat helmet jacket jar kettle key "
         "ladder lantern needle paper pencil piano pillow pocket radio ribbon ring rope shelf ship shoe spoon table ticket "
         "tower train umbrella wagon window wheel").split()


def plain(text: str) -> str:
    """ASCII, lower case, single spaces, no square brackets or backslashes."""
    text = unicodedata.normalize("NFKD", text.replace("–", "-").replace("—", "-").replace("’", "'"))
    text = text.encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[\[\]\\]", " ", text)
    return re.sub(r"\s+", " ", text).strip()


def wiki_sentences(path: str) -> list[str]:
    """WikiText's sentences, spaces before punctuation removed; unknown words and headings dropped."""
    out = []
    with open(path, encoding="utf-8") as handle:
        for line in handle:
            line = line.strip()
            if not line or line.startswith("="):
                continue
            line = re.sub(r" @(.)@ ", r"\1", line).replace("<unk>", " ")
            for sentence in re.split(r"(?<= [.!?]) ", line):
                sentence = plain(sentence)
                sentence = re.sub(r" ([.,;:!?%'])", r"\1", sentence)
                sentence = re.sub(r'" ?(.*?) ?"', r'"\1"', sentence)
                sentence = re.sub(r"\( (.*?) \)", r"(\1)", sentence)
                if len(sentence.split()) >= 4:
                    out.append(sentence)
    return out


def shakespeare_sentences(path: str, part: str) -> list[str]:
    """Speeches; the first nine tenths for training, the last tenth for evaluation."""
    with open(path, encoding="utf-8") as handle:
        text = handle.read()
    cut = text.index("\n\n", len(text) * 9 // 10)
    text = text[:cut] if part == "train" else text[cut:]
    return [s for s in (plain(block) for block in text.split("\n\n")) if len(s.split()) >= 4]


def prose(data: str, part: str) -> list[str]:
    wiki = "wiki.valid.tokens" if part == "train" else "wiki.test.tokens"
    return (wiki_sentences(os.path.join(data, "lm/wikitext-2", wiki))
            + shakespeare_sentences(os.path.join(data, "lm/tinyshakespeare/input.txt"), part))


def build_tokenizer(sentences: list[str], whole_words: list[str], bare_words: list[str], size: int, path: str) -> None:
    """A Unigram vocabulary in T5's form. `whole_words` are forced to be one piece, `bare_words` also without the leading space."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trainer_tokenizer = Tokenizer(models.Unigram())
    trainer_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        pre_tokenizers.Split(__import__("tokenizers").Regex(r"[^a-z▁]"), "isolated"),
    ])
    forced = list(dict.fromkeys(["▁" + w for w in whole_words] + bare_words
                                + ["▁" + SEPARATOR, "▁(", "the"]))
    trainer_tokenizer.train_from_iterator(
        sentences, trainers.UnigramTrainer(vocab_size=size - 3, unk_token="<unk>", special_tokens=["<unk>"],
                                           show_progress=False, max_piece_length=12))
    learned = [(p, s) for p, s in json.loads(trainer_tokenizer.to_str())["model"]["vocab"] if p != "<unk>"]
    scores = dict(learned)
    characters = ["▁"] + [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    kept = dict.fromkeys(forced + characters)
    for piece, _ in learned:
        if len(kept) >= size - 3:
            break
        kept.setdefault(piece)
    lowest = min(scores.values())
    vocab = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]]
    # A forced piece must beat every split into smaller pieces: the best single-piece scores are near -3.
    vocab += [[p, max(scores.get(p, lowest), -9.0) if p in forced else scores.get(p, lowest - 2)] for p in kept]
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, c in enumerate(["<pad>", "</s>", "<unk>"])]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    spec = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True}]},
        "pre_tokenizer": space,
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
                                    {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "special_tokens": {"</s>": {"id": "</s>", "ids": [EOS], "tokens": ["</s>"]}}},
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": UNK, "vocab": vocab, "byte_fallback": False},
    }
    for _ in range(12):  # raise every forced word that still falls apart
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        split = {p for p in forced if p.startswith("▁") and len(tokenizer.encode(p[1:], add_special_tokens=False).ids) > 1}
        if not split:
            break
        for entry in vocab:
            entry[1] += 1.5 if entry[0] in split else 0
    with open(path, "w", encoding="utf-8") as handle:
        json.dump(spec, handle, ensure_ascii=False)
