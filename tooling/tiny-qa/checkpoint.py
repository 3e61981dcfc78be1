"""Training state in pieces of at most 15 MiB, and back. Momentum is left out: it refills within some tens of steps."""
from __future__ import annotations

import json
import os

import numpy as np
import torch

PIECE = 15 * 2 ** 20


def save(folder: str, p: dict[str, torch.Tensor], optimizer, state: dict, config) -> None:
    os.makedirs(folder, exist_ok=True)
    weights = torch.cat([v.detach().flatten() for v in p.values()]).cpu().numpy().tobytes()
    average = torch.cat([v.flatten() for v in optimizer.average.values()]).half().cpu().numpy().tobytes()
    second = torch.cat([v.flatten() for v in optimizer.second.values()]).cpu().numpy().tobytes()
    for name, data in (("weights", weights), ("average", average), ("second", second)):
        for n in range(0, len(data), PIECE):
            path = os.path.join(folder, f"{name}.{n // PIECE}.bin")
            with open(path + ".new", "wb") as handle:
                handle.write(data[n: n + PIECE])
            os.replace(path + ".new", path)
    with open(os.path.join(folder, "state.json"), "w") as handle:
        json.dump({**state, "config": config.dict()}, handle)


def _read(folder: str, name: str, dtype) -> torch.Tensor:
    data = b""
    n = 0
    while os.path.exists(path := os.path.join(folder, f"{name}.{n}.bin")):
        with open(path, "rb") as handle:
            data += handle.read()
        n += 1
    return torch.from_numpy(np.frombuffer(data, dtype).copy())


def _spread(flat: torch.Tensor, tensors: dict[str, torch.Tensor]) -> None:
    at = 0
    for v in tensors.values():
        v.data.copy_(flat[at: at + v.numel()].view_as(v))
        at += v.numel()
    if at != len(flat):
        raise ValueError(f"checkpoint holds {len(flat)} numbers, the model has {at}")


def load(folder: str, p: dict[str, torch.Tensor], optimizer) -> dict:
    average = _read(folder, "average", np.float16).float()
    weights = _read(folder, "weights", np.float32)
    _spread(weights if len(weights) else average, p)  # without the weights, go on from their average
    _spread(average, optimizer.average)
    _spread(_read(folder, "second", np.float32), optimizer.second)
    with open(os.path.join(folder, "state.json")) as handle:
        state = json.load(handle)
    optimizer.steps.fill_(state["steps"])
    return state


def load_average(folder: str) -> tuple[dict[str, torch.Tensor], dict, dict]:
    """(f16 running average by name as f32, config, state)."""
    import model as M

    with open(os.path.join(folder, "state.json")) as handle:
        state = json.load(handle)
    config = M.Config(**state["config"])
    p = {k: v.detach() for k, v in M.initial(config, "cpu").items()}
    _spread(_read(folder, "average", np.float16).float(), p)
    return p, config, state
