"""A small language model after 5 and 20 steps of training, and optimisers alone, in float64 with PyTorch.

Writes packages/conformance/goldens/training. Nothing that goes in is stored: initial parameters, tokens and gradients are
formulas, which packages/conformance/src/training repeats. The model: embeddings of tokens and positions, causal
attention (top-k or exact) and a feed-forward layer (top-k), each behind a layer norm, and the table of tokens once more as
the head.

Before anything is written: selections have a margin at every boundary in every step, so that float32 keeps the same keys and
units; and the same run in float32 ends close by, so that the tolerance of the tests is one that float32 can keep.
"""

import argparse
import json
import math
import pathlib

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

import optimizers
from store import compare_tensors, pretty

OUT = pathlib.Path(__file__).resolve().parents[2] / "packages" / "conformance" / "goldens" / "training"
# Steps after which parameters are kept; few steps are for slow devices.
AFTER = [5, 20]
STEPS = max(AFTER)
VOCABULARY, LENGTH, BATCH, DIM, HEADS, HIDDEN = 13, 8, 2, 16, 2, 16
KEPT_KEYS, KEPT_UNITS = 3, 5
# Least distance of the scores on the two sides of a selection's boundary.
MARGIN = 1e-4
# How far float32 may differ from float64 after all steps, in losses and parameters: a tenth of the tests' tolerance.
FLOAT32 = 2e-6

# Shape, size of the elements, and what is added.
PARAMETERS = {
    "token.weight": ([VOCABULARY, DIM], 0.3, 0),
    "position.weight": ([LENGTH, DIM], 0.5, 0),
    "norm1.weight": ([DIM], 0.2, 1),
    "norm1.bias": ([DIM], 0.1, 0),
    "q.weight": ([DIM, DIM], 0.4, 0),
    "k.weight": ([DIM, DIM], 0.4, 0),
    "v.weight": ([DIM, DIM], 0.3, 0),
    "out.weight": ([DIM, DIM], 0.3, 0),
    "norm2.weight": ([DIM], 0.2, 1),
    "norm2.bias": ([DIM], 0.1, 0),
    "wIn.weight": ([DIM, HIDDEN], 0.4, 0),
    "wIn.bias": ([HIDDEN], 0.2, 0),
    "wOut.weight": ([HIDDEN, DIM], 0.3, 0),
    "wOut.bias": ([DIM], 0.1, 0),
}

# Names of torch's options, and of ours.
TRAINED = {
    "adamW, top-k attention": ("adamW", {"lr": 0.003, "weight_decay": 0.1}, {"learningRate": 0.003, "weightDecay": 0.1}, "top-k"),
    "adamW, exact attention": ("adamW", {"lr": 0.003}, {"learningRate": 0.003}, "exact"),
    "adam, top-k attention": ("adam", {"lr": 0.003}, {"learningRate": 0.003}, "top-k"),
    "sgd with momentum, top-k attention": ("sgd", {"lr": 0.01, "momentum": 0.9}, {"learningRate": 0.01, "momentum": 0.9}, "top-k"),
    "adafactor, top-k attention": ("adafactor", {}, {}, "top-k"),
}
CLASSES = {
    "adamW": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "adafactor": optimizers.Adafactor,
}


def initial(index, dtype):
    shape, size, shift = list(PARAMETERS.values())[index]
    ramp = torch.arange(math.prod(shape), dtype=torch.float64)
    # Through float32, as the tests upload it.
    return (shift + size * torch.sin(1 + 3 * index + 2.3 * ramp)).float().to(dtype).reshape(shape)


def tokens(step):
    return torch.tensor([[(7 * step + 5 * b + 3 * t + t * t) % VOCABULARY for t in range(LENGTH + 1)] for b in range(BATCH)])


def kept(scores, k, margins):
    """True for the k largest of each row; -inf is never kept."""
    ordered = scores.detach().sort(-1, descending=True).values
    gap = ordered[..., k - 1] - ordered[..., k]
    margins.append(gap[torch.isfinite(ordered[..., k])].min().item())
    return (scores >= ordered[..., k - 1 : k]) & torch.isfinite(scores)


def loss_of(p, step, mechanism, margins):
    functional = torch.nn.functional
    read = tokens(step)
    x = p["token.weight"][read[:, :-1]] + p["position.weight"]
    h = functional.layer_norm(x, [DIM], p["norm1.weight"], p["norm1.bias"])
    q, k, v = ((h @ p[f"{name}.weight"]).reshape(BATCH, LENGTH, HEADS, -1).transpose(1, 2) for name in "qkv")
    scores = q @ k.transpose(-1, -2) / math.sqrt(DIM // HEADS)
    scores = scores.masked_fill(~torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril(), -math.inf)
    if mechanism == "top-k":
        scores = scores.masked_fill(~kept(scores, KEPT_KEYS, margins), -math.inf)
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(BATCH, LENGTH, DIM)
    x = x + mixed @ p["out.weight"]
    h = functional.layer_norm(x, [DIM], p["norm2.weight"], p["norm2.bias"])
    units = h @ p["wIn.weight"] + p["wIn.bias"]
    active = functional.gelu(units) * kept(units, KEPT_UNITS, margins)
    x = x + active @ p["wOut.weight"] + p["wOut.bias"]
    targets = read[:, 1:].clone()
    # One that does not count.
    targets[-1, -1] = -100
    return functional.cross_entropy((x @ p["token.weight"].T).reshape(-1, VOCABULARY), targets.reshape(-1))


def train(optimizer, options, mechanism, dtype=torch.float64):
    p = {name: torch.nn.Parameter(initial(i, dtype)) for i, name in enumerate(PARAMETERS)}
    stepper = CLASSES[optimizer](p.values(), **options)
    losses, margins, kept_values = [], [], {}
    for step in range(STEPS):
        stepper.zero_grad()
        loss = loss_of(p, step, mechanism, margins)
        loss.backward()
        stepper.step()
        losses.append(loss.item())
        if step + 1 in AFTER:
            kept_values |= {f"{step + 1}.{name}": one.detach().float().numpy().copy() for name, one in p.items()}
    if min(margins) < MARGIN:
        raise SystemExit(f"{optimizer}, {mechanism}: a selection is decided by {min(margins)}; change the formulas")
    return {"losses": np.array(losses), **kept_values}


def check_float32(name, exact, rounded):
    worst = max(np.abs(exact[key] - rounded[key]).max() for key in exact)
    if worst > FLOAT32:
        raise SystemExit(f"{name}: float32 differs by {worst}; change the formulas")


def made():
    cases, tensors = [], {}
    for name, (optimizer, options, ours, mechanism) in TRAINED.items():
        result = train(optimizer, options, mechanism)
        check_float32(name, result, train(optimizer, options, mechanism, torch.float32))
        cases.append({"name": name, "optimizer": optimizer, "options": ours, "mechanism": mechanism})
        tensors |= {f"{name}.{key}": value for key, value in result.items()}
    alone = [
        {"name": name, "optimizer": name.split(",")[0], "options": ours, "after": after(cls, options)}
        for name, (cls, options, ours) in optimizers.OPTIMIZERS.items()
    ]
    manifest = {"training": cases, "shapes": optimizers.SHAPES, "optimizers": alone}
    return manifest, tensors


def after(cls, options):
    return {str(steps): values for steps, values in optimizers.run(cls, options).items() if steps in AFTER}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    check = parser.parse_args().check
    manifest, tensors = made()
    text, file = pretty(manifest) + "\n", OUT / "training.safetensors"
    if not check:
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "training.json").write_text(text)
        save_file(tensors, file)
        return
    faults = compare_tensors("training", load_file(file), tensors)
    if json.loads((OUT / "training.json").read_text()) != json.loads(text):
        faults.append("training.json differs")
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
