"""Golden values for BERT, DistilBERT and RoBERTa from Python transformers and tokenizers.

    python tooling/goldens/encoders.py            write tooling/t5-goldens/goldens/encoders; then pnpm format
    python tooling/goldens/encoders.py --check    make them in memory and compare

Every model is a small random folder with the weights of all its heads. Hidden states and logits are computed in float64 from the
stored weights (eager attention), and the hidden states a second time from the equations in encoder_formulas.py, which also give
the values with top-k. Ids, offsets and windows come from the Python package tokenizers; answers from transformers' rules for
extractive question answering, written out here: transformers 5 no longer has that pipeline.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.numpy import load_file, save
from safetensors.torch import save as save_torch
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers.models.auto import configuration_auto

from encoder_formulas import Encoder
from encoder_texts import TEXTS, byte_pairs, word_pieces
from philox import Draw
from store import compare_tensors, pretty

OUT = Path(__file__).resolve().parents[1] / "t5-goldens" / "goldens" / "encoders"
LAYERS, HEADS, WIDTH, HIDDEN, POSITIONS = 2, 4, 32, 48, 66
TOP_K = {"attention": {"k": 4}, "feedForward": {"k": 12}}
GAP = 1e-5
CLASSES = {"text-classification": "ForSequenceClassification", "token-classification": "ForTokenClassification",
           "fill-mask": "ForMaskedLM", "question-answering": "ForQuestionAnswering"}
PREFIX = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta"}
LABELS = {"0": "negative", "1": "neutral", "2": "positive"}


def added(contents, first=0, **changes):
    return [{"id": first + i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True, **changes.get(c, {})} for i, c in enumerate(contents)]


def word_piece_tokenizer(lowercase):
    vocab = {token: i for i, token in enumerate(dict.fromkeys(word_pieces(lowercase)))}
    special = lambda token, kind: {"SpecialToken": {"id": token, "type_id": kind}}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    single = [special("[CLS]", 0), a, special("[SEP]", 0)]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": added(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]),
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                       "lowercase": lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": [*single, b, special("[SEP]", 1)],
                           "special_tokens": {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    }


def byte_level_tokenizer():
    bytes_shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in bytes_shown]
    byte_of = {**{b: chr(b) for b in bytes_shown}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}
    merges = byte_pairs(byte_of, 160)
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab = {t: i for i, t in enumerate([*specials, *(byte_of[b] for b in range(256)), *(x + y for x, y in merges), "<mask>"])}
    mask = added(["<mask>"], vocab["<mask>"], **{"<mask>": {"lstrip": True}})
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [*added(specials, **{s: {"normalized": True} for s in specials}), *mask],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True,
                           "add_prefix_space": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab,
                  "merges": [list(pair) for pair in merges]},
    }


def settings(family, vocab):
    common = {"id2label": LABELS, "label2id": {v: int(k) for k, v in LABELS.items()}, "pad_token_id": int(family == "roberta"),
              "tie_word_embeddings": True, "vocab_size": vocab, "dtype": "float32",
              "architectures": [PREFIX[family] + "ForQuestionAnswering"], "model_type": family}
    if family == "distilbert":
        return {**common, "activation": "gelu", "attention_dropout": 0.1, "dim": WIDTH, "dropout": 0.1, "hidden_dim": HIDDEN,
                "max_position_embeddings": POSITIONS - 2, "n_heads": HEADS, "n_layers": LAYERS, "qa_dropout": 0.1,
                "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False}
    return {**common, "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": WIDTH,
            "intermediate_size": HIDDEN, "layer_norm_eps": 1e-12, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
            "max_position_embeddings": POSITIONS - 2 * (family == "bert"), "type_vocab_size": 2 if family == "bert" else 1}


def class_of(family, ending):
    return getattr(transformers, PREFIX[family] + ending)


def make(family, config, ending, weights, dtype):
    """A model of a class of transformers with the weights that it has among all."""
    changes = {"num_labels": 2} if ending == "ForQuestionAnswering" else {}
    own = configuration_auto.CONFIG_MAPPING[family](**{**config, **changes, "architectures": None})
    own._attn_implementation = "eager"
    model = class_of(family, ending)(own).to(dtype)
    names = dict(model.named_parameters())
    # A bare RoBERTa has a pooler that no head uses.
    missing = [n for n in names if n not in weights and not n.startswith("pooler.")]
    assert not missing, missing
    model.load_state_dict({n: weights[n].to(dtype) for n in names if n in weights}, strict=False)
    model.tie_weights()
    return model.eval()


def random_weights(family, config):
    """Weights of all heads together. Text and token classification of BERT and DistilBERT share their last layer."""
    draw, shapes = Draw(f"{family} encoder"), {}
    for ending in CLASSES.values():
        changes = {"num_labels": 2} if ending == "ForQuestionAnswering" else {}
        own = configuration_auto.CONFIG_MAPPING[family](**{**config, **changes, "architectures": None})
        shapes |= {n: tuple(p.shape) for n, p in class_of(family, ending)(own).named_parameters()}
    weights = {}
    for name, shape in sorted(shapes.items()):
        unit = torch.from_numpy(draw.uniform(*shape)) / 1.155
        if "norm" in name.lower():
            unit = (1.0 if name.endswith("weight") else 0.0) + 0.2 * unit
        elif name.endswith("bias"):
            unit = 0.2 * unit
        elif "embeddings" in name:
            unit = 0.5 * unit
        else:
            wide = 2.0 if any(p in name for p in ("query", "key", "q_lin", "k_lin")) else 1.0
            unit = unit * wide * (3.0 if "qa_outputs" in name else 1.0) * shape[-1] ** -0.5
        weights[name] = unit.float().contiguous()
    return weights


def utf16(text):
    """Places of code points in UTF-16."""
    places = [0]
    for c in text:
        places.append(places[-1] + (2 if ord(c) > 0xFFFF else 1))
    return places


def spans(encoding, text):
    at = utf16(text)
    return [[at[a], at[b]] for a, b in encoding.offsets]


def forward(family, config, weights, ids, lengths, types):
    mask = torch.arange(ids.shape[1])[None, :] < torch.tensor(lengths)[:, None]
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if family == "bert":
        inputs["token_type_ids"] = types
    return mask, inputs


def model_goldens(family, config, weights):
    pad, vocab = config["pad_token_id"], config["vocab_size"]
    doubles = {n: w.double() for n, w in weights.items()}
    lengths = [21, 7, 1]
    for attempt in range(200):
        draw = Draw(f"{family} encoder inputs", attempt)
        ids = torch.full((3, 21), pad)
        types = torch.zeros(3, 21, dtype=torch.long)
        for row, n in enumerate(lengths):
            ids[row, :n] = torch.tensor([int(i) for i in draw.integers(5, vocab - 1, n)])
            types[row, n // 2:n] = int(family == "bert")
        mask, inputs = forward(family, config, weights, ids, lengths, types)
        oracle = Encoder(family, doubles, LAYERS, HEADS, pad, TOP_K["attention"]["k"], TOP_K["feedForward"]["k"])
        with_top_k = oracle.encode(ids, mask, types)
        if oracle.gap >= GAP:
            break
    else:
        raise AssertionError("no inputs with a gap")
    arrays = {"ids": ids.int().numpy(), "lengths": np.array(lengths, np.int32), "types": types.int().numpy(),
              "topK.hidden": with_top_k.numpy()}
    with torch.no_grad():
        bare = make(family, config, "Model", {n.removeprefix(f"{family}."): w for n, w in weights.items()}, torch.float64)
        hidden = bare(**inputs).last_hidden_state
        again = Encoder(family, doubles, LAYERS, HEADS, pad).encode(ids, mask, types)
        assert torch.allclose(hidden[mask], again[mask], atol=1e-10), "hidden states: two oracles differ"
        arrays["hidden"] = hidden.numpy()
        plain = bare(**{**inputs, **({"token_type_ids": torch.zeros_like(types)} if family == "bert" else {})}).last_hidden_state
        mean = (plain * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        arrays["embed.mean"], arrays["embed.cls"] = mean.numpy(), plain[:, 0].contiguous().numpy()
        arrays["embed.normalized"] = (mean / mean.norm(dim=-1, keepdim=True)).numpy()
        for task in ("text-classification", "token-classification"):
            arrays[f"{task}.logits"] = make(family, config, CLASSES[task], weights, torch.float64)(**inputs).logits.numpy()
        qa = make(family, config, CLASSES["question-answering"], weights, torch.float64)(**inputs)
        arrays["question-answering.logits"] = torch.stack([qa.start_logits, qa.end_logits], -1).numpy()
        _, short = forward(family, config, weights, ids[1:, :7], [7, 1], types[1:, :7])
        arrays["fill-mask.logits"] = make(family, config, CLASSES["fill-mask"], weights, torch.float64)(**short).logits.float().numpy()
    model = make(family, config, CLASSES["text-classification"], weights, torch.float64)
    torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([0, 2, 1])).backward()
    gradients = {n: float(p.grad.pow(2).sum().sqrt()) for n, p in model.named_parameters() if p.grad is not None}
    return arrays, gradients


def answers_of(tokenizer, model, question, context, window, stride, top, longest, may_be_none):
    """The rules of transformers' pipeline up to version 4: softmax per window, products of begins and ends, the best `top` of each
    window, aligned to words, texts joined that are equal but for case, all windows ranked together."""
    asked, plain, parts = (tokenizer.encode(t, add_special_tokens=False) for t in (question, context, context))
    around = len(tokenizer.post_process(asked, tokenizer.encode("", add_special_tokens=False)).ids)
    # Not by enable_truncation: tokenizers 0.23.2 then drops what follows the first `window` tokens of the context.
    parts.truncate(window - around, stride=stride)
    parts = [parts, *parts.overflowing]
    windows = [tokenizer.post_process(asked, part) for part in parts]
    at, found, none, first_token = utf16(context), [], 1000000.0, 0
    for part, one in zip(parts, windows):
        # The places of the plain encoding: processing twice trims them twice.
        while plain.ids[first_token:first_token + len(part.ids)] != part.ids or plain.word_ids[first_token] != part.word_ids[0]:
            first_token += 1
        offsets, words = (x[first_token:first_token + len(part.ids)] for x in (plain.offsets, plain.word_ids))
        begins = one.sequence_ids.index(1)
        first_token += 1
        inputs = {"input_ids": torch.tensor([one.ids]), "attention_mask": torch.ones(1, len(one.ids), dtype=torch.long)}
        if model.config.model_type == "bert":
            inputs["token_type_ids"] = torch.tensor([one.type_ids])
        with torch.no_grad():
            out = model(**inputs)
        wanted = np.array([s == 1 for s in one.sequence_ids])
        wanted[0] = True
        begin, end = (np.where(wanted, logits[0].numpy(), -10000.0) for logits in (out.start_logits, out.end_logits))
        begin, end = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (begin, end))
        if may_be_none:
            none = min(none, float(begin[0] * end[0]))
        begin[0] = end[0] = 0.0
        products = np.tril(np.triu(np.outer(begin, end)), longest - 1)
        flat = products.ravel()
        if top >= len(flat):
            order = np.argsort(-flat, kind="stable")
        else:
            order = np.argpartition(-flat, top)[:top]
            order = order[np.argsort(-flat[order], kind="stable")]
        for place in order:
            s, e = divmod(int(place), len(begin))
            if not (wanted[s] and wanted[e]) or s == 0:
                continue
            first, last = words[s - begins], words[e - begins]
            a, b = offsets[words.index(first)][0], offsets[len(words) - 1 - words[::-1].index(last)][1]
            found.append({"score": float(flat[place]), "start": a, "end": b, "text": context[a:b]})
    joined = {}
    for one in found:
        known = joined.get(one["text"].lower())
        if known is None:
            joined[one["text"].lower()] = dict(one)
        else:
            known["score"] += one["score"]
    ranked = sorted(joined.values(), key=lambda x: -x["score"])[:top]
    scores = [x["score"] for x in ranked]
    lead = min((a - b for a, b in zip(scores, scores[1:])), default=1.0)
    return {"question": question, "context": context, "window": window, "stride": stride, "topK": top, "longest": longest,
            "windows": [w.ids for w in windows], "lead": lead, **({"noAnswerScore": none} if may_be_none else {}),
            "answers": [{"text": x["text"], "score": x["score"], "start": at[x["start"]], "end": at[x["end"]]} for x in ranked]}


QUESTIONS = [
    ("Who went to the garden?", "Mary went to the kitchen. John moved to the garden.", 40, 8, 3, 15, True),
    ("Where is the café?", "The café near the old harbour opened in 1987; its owner, Zoë Müller, still works there every morning. "
     "Unaffordable prices are unusual, but the unhappiest customers never complained about them again.", 24, 6, 4, 6, True),
    ("\U0001f44d?", "a\u0301 \U0001f44d\u200b  cafe\u0301 \u4e2d\u6587, na\u00efve \U00020000 unusually STRASSE.", 60, 20, 5, 4, False),
    ("the", "garden", 64, 16, 2, 15, True),
]


def tokenizer_goldens(definition):
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    cases = []
    for text in TEXTS:
        one = tokenizer.encode(text)
        plain = tokenizer.encode(text, add_special_tokens=False)
        cases.append({"text": text, "ids": one.ids, "offsets": [n for s in spans(plain, text) for n in s],
                      "words": [-1 if w is None else w for w in plain.word_ids], "decoded": tokenizer.decode(one.ids)})
    pairs = []
    for a, b in [(TEXTS[3], TEXTS[5]), (TEXTS[6], TEXTS[12]), ("", "a"), ("a", "")]:
        one = tokenizer.encode(a, b)
        pairs.append({"a": a, "b": b, "ids": one.ids, "types": one.type_ids})
    return {"cases": cases, "pairs": pairs}


def spaced_tokenizer(definition):
    """The byte-level tokenizer with a space in front of every text, as some have it."""
    pre = {**definition["pre_tokenizer"], "add_prefix_space": True}
    post = {**definition["post_processor"], "add_prefix_space": True}
    return {**definition, "pre_tokenizer": pre, "post_processor": post}


def normalized_words(changes):
    """Words of the texts after BERT's normalisation, and where each stands in the original."""
    normalizer, splitter, cases = BertNormalizer(**changes), BertPreTokenizer(), []
    for text in TEXTS:
        pieces = tokenizers.PreTokenizedString(text)
        pieces.normalize(normalizer.normalize)
        splitter.pre_tokenize(pieces)
        at = utf16(text)
        words = [[w, at[a], at[b]] for w, (a, b), _ in pieces.get_splits(offset_referential="original", offset_type="char") if w]
        cases.append({"text": text, "words": words})
    return {"normalizer": {"type": "BertNormalizer", **changes}, "cases": cases}


NORMALIZERS = [
    {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False},
    {"clean_text": False, "handle_chinese_chars": False, "strip_accents": True, "lowercase": False},
    {"clean_text": True, "handle_chinese_chars": False, "strip_accents": False, "lowercase": True},
]


def build():
    files, goldens, entries = {}, {}, []
    for family in PREFIX:
        definition = byte_level_tokenizer() if family == "roberta" else word_piece_tokenizer(family == "bert")
        config = settings(family, len(definition["model"]["vocab"]))
        weights = random_weights(family, config)
        arrays, gradients = model_goldens(family, config, weights)
        files[f"{family}/config.json"] = pretty(dict(sorted(config.items()))).encode() + b"\n"
        files[f"{family}/model.safetensors"] = save_torch(weights, metadata={"format": "pt"})
        files[f"{family}/tokenizer.json"] = pretty(definition).encode() + b"\n"
        goldens[f"{family}/goldens.safetensors"] = arrays
        qa = make(family, config, CLASSES["question-answering"], weights, torch.float64)
        tokenizer = Tokenizer.from_str(json.dumps(definition))
        questions = [answers_of(tokenizer, qa, *q) for q in QUESTIONS]
        print(family, config["vocab_size"], "words; leads of answers", [f"{q['lead']:.1e}" for q in questions], file=sys.stderr)
        entries.append({"model": family, "topK": TOP_K, "gradients": gradients, "questions": questions,
                        "tokenizer": tokenizer_goldens(definition)})
        if family == "roberta":
            spaced = tokenizer_goldens(spaced_tokenizer(definition))["cases"]
    manifest = {"version": 1, "spaced": spaced, "generator": "tooling/goldens/encoders.py", "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__, "models": entries, "normalizers": [normalized_words(n) for n in NORMALIZERS]}
    return files, goldens, manifest


def text_of(manifest):
    return pretty(manifest).encode() + b"\n"


def write(files, goldens, manifest):
    everything = {**files, **{p: save(a) for p, a in goldens.items()}, "manifest.json": text_of(manifest)}
    for path, data in everything.items():
        (OUT / path).parent.mkdir(parents=True, exist_ok=True)
        (OUT / path).write_bytes(data)
    print(f"{len(everything)} files, {sum(map(len, everything.values())):,} bytes in {OUT}")


def near(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(1.0, abs(a))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(near, a, b))
    return a == b


def check(files, goldens, manifest):
    # The repository's formatter lays long lists out in its own way: `pnpm format` after writing.
    same = lambda path, data: (json.loads(OUT.joinpath(path).read_text()) == json.loads(data) if path.endswith(".json")
                               else OUT.joinpath(path).read_bytes() == data)
    faults = [f"{path} differs" for path, data in files.items() if not (OUT / path).exists() or not same(path, data)]
    for path, arrays in goldens.items():
        faults += compare_tensors(path, load_file(OUT / path), arrays, 1e-10) if (OUT / path).exists() else [f"{path} missing"]
    stored, made = json.loads((OUT / "manifest.json").read_text()), json.loads(text_of(manifest))
    faults += [f"manifest: {k} differs" for k in made if k not in ("transformers", "tokenizers") and not near(stored.get(k), made[k])]
    print("\n".join(faults) or f"{len(files) + len(goldens) + 1} files agree")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files present instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = build()
    sys.exit(check(*result) if arguments.check else write(*result))
