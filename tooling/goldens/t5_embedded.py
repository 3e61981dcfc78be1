"""Goldens for a trained T5 with its tokenizer: strings to ids, prompts to logits and generated ids."""

import hashlib
import json
import sys

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.numpy import load_file, save
from tokenizers import Tokenizer

from philox import Draw
from store import compare_tensors, pretty

STRINGS, PROMPTS, LEAD = 300, 50, 1e-2
PEOPLE = "mary john daniel sandra bill fred julie emily".split()
PLACES = "kitchen garden hallway office bedroom bathroom school park cinema".split()
THINGS = "apple milk football book lamp umbrella".split()
MOVES = "moved to,went to,travelled to,journeyed to,went back to".split(",")
FILLING = [
    "the old bridge over the river was closed for repairs in the early spring.",
    "a light rain fell on the roofs of the town, and the market stayed empty until noon.",
    "in 1912 the company built 14 engines; only three of them are left.",
    "he wrote that the road was long, narrow and, in winter, not to be trusted.",
    "most of the letters were lost, but a few were kept in a wooden box.",
    "what light through yonder window breaks? it is the east.",
]
# Text that tokenizers get wrong: spaces of every kind, composed and decomposed letters, scripts, symbols, special tokens.
HARD = [
    "", " ", "   ", "\n", "\t", " leading", "trailing ", "  both  ", "two  spaces", "tab\tbetween", "line\nbreak", "cr\r\nlf",
    "no\u00a0break", "thin\u2009space", "zero\u200bwidth", "soft\u00adhyphen", "ideographic\u3000space", "em\u2014dash",
    "UPPER CASE", "MiXeD", "Stra\u00dfe", "\u0130stanbul", "caf\u00e9", "cafe\u0301", "\u00c5ngstr\u00f6m", "A\u030angstro\u0308m", "na\u00efve",
    "\ufb01ne", "\u2460 \u00bd \u00b2", "\uff21\uff22\uff23 \uff11\uff12\uff13", "\u2126 \u212b", "\u65e5\u672c\u8a9e\u306e\u6587", "\u4e2d\u6587", "\ud55c\uad6d\uc5b4",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439", "\u03b5\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac", "\u05e2\u05d1\u05e8\u05d9\u05ea", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "a\U0001f600b", "\u2581", "a\u2581b", "\u2581a", "</s>", "<pad>",
    "<unk>", "a</s>b", "</s></s>", "<extra_id_0>", "\\n", " \\n ", "where? \\n here.", "\\\\n", "(a) yes (b) no", "\"quoted\"",
    "'single'", "it's", "don't", "john's", "a-b-c", "a/b", "e.g. this", "...", "?!", "!!!!", "#hash @at", "50%", "$5.00", "1,234.56", "3.14",
    "0", "007", "12345678901234567890", "x" * 200, "ab" * 100, "the " * 60, "-" * 80, "a.b.c.d", "http://example.org/a?b=c&d=e",
    "name@example.org", "\x00", "a\x00b", "\x07bell", "\x7f", "{}[]()<>", "~`^|", "\u2018curly\u2019 \u201cquotes\u201d", "\u2026", "\u20ac100", "\u00a9 \u00ae \u2122",
]

# Where @huggingface/tokenizers 0.2.0 (JavaScript) differs: its white space includes U+FEFF, and it drops the space piece
# before a special token that only appears once the text is in lower case.
DIFFERENT = ["\ufeffbom", "</S>"]


def pick(draw, items):
    return items[int(draw.bits((1,))[0]) % len(items)]


def story(draw, sentences, filling):
    """Sentences of people who move and carry things, a share of other text, and a question about it."""
    rows = []
    for _ in range(sentences):
        kind = int(draw.bits((1,))[0]) % 100
        if kind < filling:
            rows.append(pick(draw, FILLING))
        elif kind % 4 == 0:
            rows.append(f"{pick(draw, PEOPLE)} {pick(draw, ['took', 'got', 'picked up', 'dropped', 'left'])} the {pick(draw, THINGS)}.")
        else:
            rows.append(f"{pick(draw, PEOPLE)} {pick(draw, MOVES)} the {pick(draw, PLACES)}.")
    question = pick(draw, [f"where is {pick(draw, PEOPLE)}?", f"where is the {pick(draw, THINGS)}?",
                           f"is {pick(draw, PEOPLE)} in the {pick(draw, PLACES)}?", f"what is {pick(draw, PEOPLE)} carrying?"])
    return f"{question} \\n {' '.join(rows)}"


def strings():
    draw = Draw("tokenizer strings")
    rows = list(HARD)
    while len(rows) < 200:
        rows.append(story(draw, 1 + len(rows) % 4, 30))
    while len(rows) < 250:  # printable ASCII without sense
        rows.append("".join(chr(32 + int(b) % 95) for b in draw.bits((1 + len(rows) % 40,))))
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x500), (0x2000, 0x2070), (0x2100, 0x2200), (0x3040, 0x3100),
              (0x4E00, 0x4F00), (0xFB00, 0xFB07), (0xFF01, 0xFF60), (0x1F300, 0x1F400)]
    while len(rows) < STRINGS:
        row = ""
        for word in draw.bits((1 + len(rows) % 30,)):
            low, high = ranges[(int(word) >> 16) % len(ranges)]
            row += chr(low + int(word) % (high - low))
        rows.append(row)
    return rows


def ragged(rows):
    """Lists of ids, one after the other, and where each begins."""
    return (np.array([i for row in rows for i in row], np.int32),
            np.cumsum([0] + [len(row) for row in rows]).astype(np.int32))


def embedded(model_folder, out, check):
    from t5 import forward_goldens, generation_goldens, load
    from t5_formulas import T5

    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    config = json.loads((model_folder / "config.json").read_text())
    model, model64 = load(model_folder, torch.float32), load(model_folder, torch.float64)
    weights = {n: torch.from_numpy(a.astype(np.float64)) for n, a in load_file(model_folder / "model.safetensors").items()}
    draw = Draw("embedded prompts")
    texts = {}

    def propose(accepted):
        # Mostly short; the last five have up to some 1,500 tokens.
        sizes = [60, 90, 120, 150, 180]
        short = PROMPTS - len(sizes)
        text = story(draw, 2 + accepted if accepted < short else sizes[accepted - short], 25)
        ids = tokenizer.encode(text).ids
        texts[tuple(ids)] = text
        return ids

    arrays = generation_goldens(model, model64, propose, PROMPTS, LEAD)
    prompts = [arrays["generate.promptIds"][i, :n].tolist() for i, n in enumerate(arrays["generate.promptLengths"])]
    answers = [arrays["generate.ids"][i, :n].tolist() for i, n in enumerate(arrays["generate.lengths"])]
    result = {}
    result["generate.promptIds"], result["generate.promptStarts"] = ragged(prompts)
    result["generate.ids"], result["generate.starts"] = ragged(answers)
    start = config["decoder_start_token_id"]
    for i in range(4):
        ids, decoder = prompts[10 * i + 3], [start] + answers[10 * i + 3]
        forward = forward_goldens(model64, T5(weights, config), f"logits{i}", [ids], [[1] * len(ids)], [decoder])
        del forward[f"logits{i}.encoderOutput"], forward[f"logits{i}.attentionMask"]
        forward[f"logits{i}.logits"] = forward[f"logits{i}.logits"].astype(np.float32)
        result |= forward
    sample = strings()
    result["tokenizer.ids"], result["tokenizer.starts"] = ragged([tokenizer.encode(s).ids for s in sample])
    plain = [tokenizer.encode(s, add_special_tokens=False).ids for s in sample]
    result["tokenizer.plainIds"], result["tokenizer.plainStarts"] = ragged(plain)
    manifest = {
        "version": 1, "generator": "tooling/goldens/t5.py --embedded", "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__, "maxNewTokens": 20, "lead": LEAD,
        # Of the model that these values belong to.
        "sha256": {name: hashlib.sha256((model_folder / name).read_bytes()).hexdigest()
                   for name in ("config.json", "model.safetensors", "tokenizer.json")},
        "notes": {
            "generate": "greedy ids of each prompt, up to and with the end of sequence; row i is [starts[i], starts[i + 1])",
            "logits": "logits0 to logits3: prompts 3, 13, 23 and 33, teacher-forced with their answers, computed in "
                      "float64, stored in float32",
            "tokenizer": "ids of each string with special tokens, plainIds without; decoded: plainIds back to text, special "
                         "tokens skipped; differentInJavaScript: strings on which @huggingface/tokenizers is known to differ",
        },
        "prompts": [texts[tuple(p)] for p in prompts],
        "answers": [tokenizer.decode(a, skip_special_tokens=True) for a in answers],
        "strings": sample,
        "differentInJavaScript": [{"text": s, "ids": tokenizer.encode(s).ids} for s in DIFFERENT],
        "decoded": [tokenizer.decode(ids, skip_special_tokens=True) for ids in plain],
    }
    if check:
        faults = compare_tensors("goldens.safetensors", load_file(out / "goldens.safetensors"), result, 1e-9)
        stored = json.loads((out / "manifest.json").read_text())
        faults += [f"manifest: {k} differs" for k in manifest if k not in ("transformers", "tokenizers") and stored.get(k) != manifest[k]]
        print("\n".join(faults) or "the embedded model's goldens agree")
        return 1 if faults else 0
    out.mkdir(parents=True, exist_ok=True)
    (out / "goldens.safetensors").write_bytes(save(result))
    (out / "manifest.json").write_text(pretty(manifest) + "\n")
    print(f"{sum(f.stat().st_size for f in out.iterdir()):,} bytes in {out}", file=sys.stderr)
    return 0
