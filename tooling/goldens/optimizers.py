"""Parameters after steps of PyTorch's and transformers' optimisers, and factors of their schedules, in float64.

Writes packages/nn/test/goldens/optimizers.json and schedules.json. Parameters and gradients are formulas that the tests repeat:
element i of tensor t begins at sin(1 + 3 t + i), and its gradient in step s (from 0) is cos(s + 1.7 t + 0.9 i) times
(1 + t) / 4; tensor 2 has no gradient in odd steps.
"""

import argparse
import json
import math
import pathlib

import torch
from torch.optim import lr_scheduler as schedulers
from transformers import optimization
from transformers.optimization import Adafactor

GOLDENS = pathlib.Path(__file__).resolve().parents[2] / "packages" / "nn" / "test" / "goldens"
SHAPES = {"proj.weight": [4, 6], "proj.bias": [6], "conv.weight": [3, 5, 2]}
AFTER = [1, 2, 5, 20, 100]

OPTIMIZERS = {
    "adamW": (torch.optim.AdamW, {}, {}),
    "adamW, decay and amsgrad": (
        torch.optim.AdamW,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "amsgrad": True},
        {"learningRate": 0.02, "betas": [0.8, 0.95], "epsilon": 1e-6, "weightDecay": 0.1, "amsgrad": True},
    ),
    "adam": (torch.optim.Adam, {"lr": 0.01}, {"learningRate": 0.01}),
    "adam, decay": (
        torch.optim.Adam,
        {"lr": 0.01, "weight_decay": 0.05},
        {"learningRate": 0.01, "weightDecay": 0.05},
    ),
    "sgd": (torch.optim.SGD, {"lr": 0.05}, {"learningRate": 0.05}),
    "sgd, momentum and dampening": (
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02},
        {"learningRate": 0.05, "momentum": 0.9, "dampening": 0.3, "weightDecay": 0.02},
    ),
    "sgd, nesterov": (
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.8, "nesterov": True},
        {"learningRate": 0.05, "momentum": 0.8, "nesterov": True},
    ),
    "adafactor": (Adafactor, {}, {}),
    "adafactor, warm-up": (Adafactor, {"warmup_init": True}, {"warmupInit": True}),
    "adafactor, a rate": (
        Adafactor,
        {
            "lr": 0.01,
            "relative_step": False,
            "scale_parameter": False,
            "weight_decay": 0.1,
            "beta1": 0.9,
            "clip_threshold": 0.5,
        },
        {
            "learningRate": 0.01,
            "relativeStep": False,
            "scaleParameter": False,
            "weightDecay": 0.1,
            "beta1": 0.9,
            "clipThreshold": 0.5,
        },
    ),
}


def initial(index, shape):
    count = math.prod(shape)
    return torch.sin(1 + 3 * index + torch.arange(count, dtype=torch.float64)).reshape(shape)


def gradient(step, index, shape):
    count = math.prod(shape)
    ramp = torch.arange(count, dtype=torch.float64)
    return (torch.cos(step + 1.7 * index + 0.9 * ramp) * (1 + index) / 4).reshape(shape)


def run(cls, options, schedule=None):
    parameters = [torch.nn.Parameter(initial(i, s)) for i, s in enumerate(SHAPES.values())]
    optimizer = cls(parameters, **options)
    scheduler = schedule(optimizer) if schedule else None
    kept = {}
    for step in range(max(AFTER)):
        for index, (parameter, shape) in enumerate(zip(parameters, SHAPES.values())):
            parameter.grad = None if index == 2 and step % 2 == 1 else gradient(step, index, shape)
        optimizer.step()
        if scheduler:
            scheduler.step()
        if step + 1 in AFTER:
            kept[step + 1] = {
                name: parameter.detach().flatten().tolist() for name, parameter in zip(SHAPES, parameters)
            }
    return kept


def one_cycle(optimizer):
    return schedulers.OneCycleLR(optimizer, max_lr=0.02, total_steps=110)


def factors(make, steps, momentum=False):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    scheduler = make(optimizer)
    rates, betas = [], []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        rates.append(group["lr"])
        betas.append(group["betas"][0])
        optimizer.step()
        scheduler.step()
    return {"rateFactor": rates, **({"momentum": betas} if momentum else {})}


def schedule_cases():
    hugging = optimization
    torch_ = schedulers
    return [
        ("constantSchedule", {"warmupSteps": 4}, lambda o: hugging.get_constant_schedule_with_warmup(o, 4), 12),
        ("linearSchedule", {"warmupSteps": 3, "totalSteps": 10}, lambda o: hugging.get_linear_schedule_with_warmup(o, 3, 10), 13),
        ("cosineSchedule", {"warmupSteps": 3, "totalSteps": 10}, lambda o: hugging.get_cosine_schedule_with_warmup(o, 3, 10), 11),
        (
            "cosineSchedule",
            {"warmupSteps": 2, "totalSteps": 10, "minFactor": 0.2},
            lambda o: hugging.get_cosine_with_min_lr_schedule_with_warmup(o, 2, 10, min_lr_rate=0.2),
            11,
        ),
        (
            "cosineWithRestartsSchedule",
            {"warmupSteps": 2, "totalSteps": 14, "cycles": 3},
            lambda o: hugging.get_cosine_with_hard_restarts_schedule_with_warmup(o, 2, 14, 3),
            17,
        ),
        (
            "polynomialSchedule",
            {"warmupSteps": 2, "totalSteps": 12, "power": 2, "endFactor": 0.1},
            lambda o: hugging.get_polynomial_decay_schedule_with_warmup(o, 2, 12, lr_end=0.1, power=2),
            15,
        ),
        ("inverseSqrtSchedule", {"warmupSteps": 5}, lambda o: hugging.get_inverse_sqrt_schedule(o, 5), 20),
        (
            "warmupStableDecaySchedule",
            {"warmupSteps": 3, "totalSteps": 15, "decaySteps": 5, "minFactor": 0.1},
            lambda o: hugging.get_wsd_schedule(o, num_warmup_steps=3, num_decay_steps=5, num_training_steps=15, min_lr_ratio=0.1),
            18,
        ),
        ("constantLR", {}, lambda o: torch_.ConstantLR(o), 9),
        ("linearLR", {}, lambda o: torch_.LinearLR(o), 9),
        ("linearLR", {"startFactor": 0.5, "endFactor": 0.1, "totalIters": 4}, lambda o: torch_.LinearLR(o, 0.5, 0.1, 4), 9),
        ("cosineAnnealingLR", {"tMax": 6}, lambda o: torch_.CosineAnnealingLR(o, 6), 9),
        ("cosineAnnealingLR", {"tMax": 6, "minFactor": 0.1}, lambda o: torch_.CosineAnnealingLR(o, 6, 0.1), 9),
        ("stepLR", {"stepSize": 3, "gamma": 0.5}, lambda o: torch_.StepLR(o, 3, 0.5), 10),
        ("multiStepLR", {"milestones": [2, 5]}, lambda o: torch_.MultiStepLR(o, [2, 5]), 10),
        ("oneCycleSchedule", {"totalSteps": 20}, lambda o: torch_.OneCycleLR(o, 1.0, 20), 20),
        (
            "oneCycleSchedule",
            {"totalSteps": 17, "pctStart": 0.4, "annealStrategy": "linear", "divFactor": 10, "finalDivFactor": 100},
            lambda o: torch_.OneCycleLR(o, 1.0, 17, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100),
            17,
        ),
    ]


def made():
    optimizers = [
        {"name": name, "optimizer": name.split(",")[0], "options": ours, "after": run(cls, options)}
        for name, (cls, options, ours) in OPTIMIZERS.items()
    ]
    optimizers.append(
        {
            "name": "adamW, one cycle",
            "optimizer": "adamW",
            "options": {"learningRate": 0.02},
            "schedule": {"totalSteps": 110},
            "after": run(torch.optim.AdamW, {"lr": 0.02}, one_cycle),
        }
    )
    schedules = [
        {"schedule": name, "options": options, **factors(make, steps, name == "oneCycleSchedule")}
        for name, options, make, steps in schedule_cases()
    ]
    return {"optimizers.json": {"shapes": SHAPES, "cases": optimizers}, "schedules.json": schedules}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    check = parser.parse_args().check
    for name, value in made().items():
        path = GOLDENS / name
        text = json.dumps(value, indent=1) + "\n"
        if check and json.loads(path.read_text()) != json.loads(text):
            raise SystemExit(f"{path} differs")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    main()
