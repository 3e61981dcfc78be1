"""Tokenise once: every story, question, answer and all prose become flat integer arrays in one compressed file per split.

    python prepare.py --data DATA --out CACHE [--vocab 2048]

Because the tokenizer splits at spaces first, the tokens of joined texts are the joined tokens of the texts; so contexts can
be put together later from slices of the flat array.
"""
from __future__ import annotations

import argparse
import os
import random

import numpy as np

import babi
import text

QUESTION, ANSWER, FACTS, GROUPS, NAMES, FORMS = 24, 8, 16, 4, 6, 4


def words_of(stories: dict[int, list[babi.Story]]) -> set[str]:
    out: set[str] = set()
    for task in stories.values():
        for story in task:
            for s in story.sentences + [q.text for q in story.questions] + [q.answer for q in story.questions]:
                out.update(w for w in "".join(c if c.isalpha() else " " for c in s).split())
    return out


def renaming_table(encode) -> np.ndarray:
    """[task, group, name, form] token ids, -1 where empty."""
    table = np.full((21, GROUPS, NAMES, FORMS), -1, np.int64)
    for task, groups in babi.RENAMING.items():
        for g, names in enumerate(groups):
            for n, forms in enumerate(names):
                ids = []
                for form in forms:
                    ids += [encode("▁", form), encode("", form)]
                table[task, g, n, : len(ids)] = ids
    return table


def flatten(tokenizer, stories: dict[int, list[babi.Story]], sentences: list[str]) -> dict[str, np.ndarray]:
    """Arrays of one split. Examples are (story prefix, question) pairs in task order."""
    encode = lambda s: tokenizer.encode(s, add_special_tokens=False).ids
    cache: dict[str, list[int]] = {}
    separator = encode(text.SEPARATOR)
    flat: list[int] = []
    sentence_of: list[int] = []
    rows: dict[str, list] = {k: [] for k in ("task", "base", "length", "question", "question_length", "answer", "facts")}
    for task in babi.TASKS:
        for story in stories[task]:
            base, ends = len(flat), [0]
            for number, sentence in enumerate(story.sentences):
                if sentence not in cache:
                    cache[sentence] = encode(sentence)
                ids = cache[sentence]
                flat += ids
                sentence_of += [number] * len(ids)
                ends.append(len(flat) - base)
            for q in story.questions:
                ids, answer = encode(q.text) + separator, encode(q.answer) + [text.EOS]
                if len(ids) > QUESTION - 5 or len(answer) > ANSWER:
                    raise ValueError(f"too long: {q}")
                facts = q.support[-FACTS:]
                rows["task"].append(task)
                rows["base"].append(base)
                rows["length"].append(ends[q.prefix])
                rows["question"].append(ids + [0] * (QUESTION - len(ids)))
                rows["question_length"].append(len(ids))
                rows["answer"].append(answer + [0] * (ANSWER - len(answer)))
                rows["facts"].append(facts + [-1] * (FACTS - len(facts)))
    prose_base = len(flat)
    starts = []
    for sentence in sentences:
        starts.append(len(flat))
        flat += encode(sentence)
    sentence_of += [-2] * (len(flat) - prose_base)
    return {**{k: np.array(v, np.int32) for k, v in rows.items()}, "flat": np.array(flat, np.int16),
            "sentence_of": np.array(sentence_of, np.int16), "prose_start": np.array(starts, np.int32)}


def main() -> None:
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--vocab", type=int, default=2048)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    folder = os.path.join(args.data, "babi/en-10k")
    train, test = babi.load(folder, "train"), babi.load(folder, "test")
    held_out = {}
    for task in babi.TASKS:  # validation: the last stories of each training file, about 300 questions
        order, count, at = train[task], 0, len(train[task])
        while count < 300:
            at -= 1
            count += len(order[at].questions)
        held_out[task], train[task] = order[at:], order[:at]
    prose_train, prose_test = text.prose(args.data, "train"), text.prose(args.data, "test")
    for p, seed in ((prose_train, 1), (prose_test, 2)):  # shuffle blocks so that both sources mix
        blocks = [p[i: i + 8] for i in range(0, len(p), 8)]
        random.Random(seed).shuffle(blocks)
        p[:] = [s for b in blocks for s in b]
    words = sorted(words_of(train) - {"s", "n", "e", "w"})
    bare = sorted({w for t in babi.RENAMING.values() for g in t for n in g for w in n})
    path = os.path.join(args.out, "tokenizer.json")
    corpus = list(prose_train)
    for task in babi.TASKS:
        for story in random.Random(0).sample(train[task], 200):
            corpus += story.sentences
    real = train[17]
    train[17] = babi.vary_task17(real, 3, seed=17) + babi.aligned_task17(real, 5, seed=18)
    if not os.path.exists(path):  # an existing vocabulary stays: checkpoints depend on it
        text.build_tokenizer(corpus, words + text.ADJECTIVES + text.NOUNS + ["n", "s", "e", "w"], bare,
                             args.vocab, path)
    tokenizer = Tokenizer.from_file(path)
    piece = lambda prefix, w: tokenizer.token_to_id(prefix + w)
    extra = {
        "renaming": renaming_table(piece),
        "adjectives": np.array([piece("▁", w) for w in text.ADJECTIVES]),
        "nouns": np.array([piece("▁", w) for w in text.NOUNS]),
        "title": np.array([piece("▁", "("), piece("", "the"), piece("", ")")]),
        "asked": np.array([piece("▁", "in"), piece("▁", "the"), piece("", ",")]),
    }
    for name, stories, sentences in (("train", train, prose_train), ("valid", held_out, prose_train[-400:]),
                                     ("test", test, prose_test)):
        arrays = flatten(tokenizer, stories, sentences)
        np.savez_compressed(os.path.join(args.out, f"{name}.npz"), **arrays, **extra)
        lengths = arrays["length"]
        print(name, "questions", len(lengths), "tokens", len(arrays["flat"]), "prose", len(arrays["flat"]) - arrays["prose_start"][0],
              "unknown", int((arrays["flat"] == text.UNK).sum()), "mean story", lengths.mean(), "max", lengths.max())
        print("  task-3 lengths", np.percentile(lengths[arrays["task"] == 3], [5, 50, 95]))


if __name__ == "__main__":
    main()
