"""Golden values of generation: beam search and the rules for the next token, by transformers' own generate() in float64.

    python tooling/goldens/generation.py            write tooling/t5-goldens/goldens/generation.json
    python tooling/goldens/generation.py --check    make them in memory and compare

The models are those that t5.py wrote. Each case is a set of generate()'s options, and some prompts with the ids that come
out, and for beams their scores. transformers compares scores in float32; a prompt is taken only if noise of 1e-4 on the
logits changes no id, so that a port whose logits are right within that finds the same.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import numpy as np
import torch
import transformers

from philox import Draw
from store import pretty
from t5 import EOS, OUT, load, random_ids

FILE = OUT / "generation.json"
NOISE, REPEATS = 1e-4, 3
PROMPTS = 4

BEAMS = {"num_beams": 4, "max_new_tokens": 12}
# Ids that the models choose often, so that beams end at many lengths.
ENDS = [1, 35, 92, 120]
ENDING = {**BEAMS, "eos_token_id": ENDS}
CASES = {
    "beams": BEAMS,
    "beams, early stopping": {**ENDING, "early_stopping": True},
    "beams, never early": {**ENDING, "early_stopping": "never"},
    "beams, long ones favoured": {**ENDING, "length_penalty": 2.0},
    "beams, long ones favoured, never early": {**ENDING, "length_penalty": 2.0, "early_stopping": "never"},
    "beams, short ones favoured": {**ENDING, "length_penalty": -1.0},
    "beams, short ones favoured, never early": {**ENDING, "length_penalty": -1.0, "early_stopping": "never"},
    "beams, length does not count": {**ENDING, "length_penalty": 0.0, "early_stopping": "never"},
    "beams, all returned": {"num_beams": 3, "max_new_tokens": 9, "num_return_sequences": 3},
    "beams, some returned": {**ENDING, "num_beams": 5, "max_new_tokens": 7, "num_return_sequences": 2, "early_stopping": True},
    "beams, several ends": {**ENDING, "num_return_sequences": 4},
    "beams under rules": {**BEAMS, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 5},
    "beams, lengths of the whole": {"num_beams": 2, "max_length": 8, "min_length": 4},
    "greedy, penalty": {"max_new_tokens": 12, "repetition_penalty": 1.8},
    "greedy, reward": {"max_new_tokens": 12, "repetition_penalty": 0.7},
    "greedy, no token twice": {"max_new_tokens": 12, "no_repeat_ngram_size": 1},
    "greedy, no pair twice": {"max_new_tokens": 12, "no_repeat_ngram_size": 2},
    "greedy, no triple twice": {"max_new_tokens": 16, "no_repeat_ngram_size": 3},
    "greedy, at least six": {"max_new_tokens": 12, "min_new_tokens": 6},
    "greedy, at least six of the whole": {"max_new_tokens": 12, "min_length": 6},
    "greedy, several ends": {"max_new_tokens": 12, "eos_token_id": ENDS},
    "greedy, all rules": {"max_length": 15, "min_new_tokens": 4, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2},
}


# What sampling draws from: probabilities of 24 tokens, some of them tied.
DRAWS = [{"temperature": 0.7}, {"temperature": 1.9, "top_k": 5}, {"top_k": 3}, {"top_p": 0.9}, {"top_p": 0.35}, {"min_p": 0.2},
         {"temperature": 1.3, "top_k": 9, "top_p": 0.8}, {"temperature": 0.8, "top_k": 12, "top_p": 0.95, "min_p": 0.1}]


class Noise(transformers.LogitsProcessor):
    """Adds noise in front of the other processors, where a port's rounding would be."""

    def __init__(self, draw):
        self.draw = draw

    def __call__(self, input_ids, scores):
        return scores + NOISE * torch.from_numpy(self.draw.uniform(*scores.shape)).to(scores.dtype)


def run(model, prompt, options, noise=None):
    """New ids of each sequence, up to and with its end, and the scores of beams."""
    original = model._get_logits_processor
    if noise is not None:
        model._get_logits_processor = lambda *args, **kwargs: transformers.LogitsProcessorList(
            [noise, *original(*args, **kwargs)])
    try:
        made = model.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                              do_sample=False, return_dict_in_generate=True, output_scores=True,
                              use_cache=model.config.num_decoder_layers == model.config.num_layers, **options)
    finally:
        model._get_logits_processor = original
    ends = options.get("eos_token_id", EOS)
    ends = ends if isinstance(ends, list) else [ends]
    rows = []
    for row in made.sequences[:, 1:].tolist():
        at = next((i for i, token in enumerate(row) if token in ends), len(row) - 1)
        # Shorter results of the same call are padded, and padding is no token of these models' texts.
        rows.append(row[:at + 1])
    beams = options.get("num_beams", 1) > 1
    return rows, made.sequences_scores.double().tolist() if beams else None


@torch.no_grad()
def case(name, options, model, folder):
    draw = Draw(f"generation {folder} {name}")
    prompts, outputs, scores, rejected = [], [], [], 0
    while len(prompts) < PROMPTS:
        assert rejected < 200, f"{name}: no prompts without near ties"
        prompt = random_ids(draw, int(draw.integers(1, 40, 1)[0])) + [EOS]
        rows, own = run(model, prompt, options)
        if any(run(model, prompt, options, Noise(draw))[0] != rows for _ in range(REPEATS)):
            rejected += 1
            continue
        prompts.append(prompt), outputs.append(rows), scores.append(own)
    print(f"  {folder}, {name}: {rejected} rejected, lengths {sorted({len(r) for rows in outputs for r in rows})}", file=sys.stderr)
    entry = {"name": name, "model": folder, "options": options, "prompts": prompts, "ids": outputs}
    return {**entry, "scores": scores} if scores[0] is not None else entry


def draw_cases(model):
    cases = []
    for at, options in enumerate(DRAWS):
        logits = np.round(Draw(f"draws {at}").uniform(1, 24) * 3, 1)
        config = transformers.GenerationConfig(do_sample=True, **{"top_k": 0, **options})
        # Those of generate() itself, in its order.
        config.update(**model.generation_config._get_default_generation_params(), defaults_only=True)
        config._eos_token_tensor = None
        processors = model._get_logits_processor(config, input_ids_seq_length=1)
        scores = processors(torch.zeros(1, 1, dtype=torch.long), torch.from_numpy(logits))
        cases.append({"options": options, "logits": logits[0].tolist(), "probabilities": scores.softmax(-1)[0].tolist()})
    return cases


def build():
    cases = []
    for folder in ("t5-v1_0", "t5-v1_1"):
        model = load(OUT / folder, torch.float64)
        names = CASES if folder == "t5-v1_0" else ("beams", "beams under rules", "greedy, all rules")
        cases += [case(name, CASES[name], model, folder) for name in names]
    return {"version": 1, "generator": "tooling/goldens/generation.py", "transformers": transformers.__version__,
            "torch": torch.__version__, "noise": NOISE, "cases": cases, "draws": draw_cases(model)}


def check(made):
    stored = json.loads(FILE.read_text())
    old, new = ({(c["model"], c["name"]): c for c in m["cases"]} for m in (stored, json.loads(json.dumps(made))))
    faults = []
    for key in sorted(old.keys() | new.keys()):
        one, other = old.get(key, {}), new.get(key, {})
        same = all(one.get(k) == other.get(k) for k in ("options", "prompts", "ids"))
        flat = [[s for row in c.get("scores", []) for s in row] for c in (one, other)]
        close = len(flat[0]) == len(flat[1]) and all(abs(a - b) < 1e-5 for a, b in zip(*flat))
        faults += [] if same and close else [f"{key} differs"]
    for one, other in zip(stored["draws"], made["draws"], strict=True):
        if one["options"] != other["options"] or not np.allclose(one["probabilities"], other["probabilities"], atol=1e-12):
            faults.append(f"draws with {one['options']} differ")
    print("\n".join(faults) or f"{len(new)} cases agree")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file present instead of writing it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = build()
    if arguments.check:
        sys.exit(check(result))
    FILE.write_text(pretty(result) + "\n")
    print(f"{len(result['cases'])} cases, {FILE.stat().st_size:,} bytes in {FILE}")
