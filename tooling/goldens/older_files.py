#!/usr/bin/env python3
"""Files of torch.save, and what torch reads from them.

  older_files.py            writes packages/nn/test/goldens/torch-files
  older_files.py --check    makes them in memory and compares the values

`new.bin` is a zip archive, `old.bin` what PyTorch wrote before 1.6; both hold the same state_dict. `values.json` has
dtype, shape and values of every tensor.
"""

from __future__ import annotations

import collections
import io
import json
import pathlib
import sys

import torch

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "packages/nn/test/goldens/torch-files"


def state_dict():
    torch.manual_seed(3)
    base = torch.randn(4, 6)
    state = collections.OrderedDict()
    state["whole"] = base
    state["same"] = base
    state["transposed"] = base.t()
    state["rows"] = base[1:3]
    state["columns"] = base[:, 2:4]
    state["every other"] = base[::2, 1::2]
    state["axes"] = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    state["parameter"] = torch.nn.Parameter(torch.tensor([1.5, -2.0]))
    state["half"] = torch.tensor([1.0, -0.5, 65504.0], dtype=torch.float16)
    state["bfloat"] = torch.tensor([[1.0], [-3.0]], dtype=torch.bfloat16)
    state["double"] = torch.tensor([0.1, 1e300], dtype=torch.float64)
    state["long"] = torch.tensor([2**40, -1])
    state["int"] = torch.tensor([7, -7], dtype=torch.int32)
    state["bytes"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["flags"] = torch.tensor([True, False, True])
    state["scalar"] = torch.tensor(4.25)
    state["empty"] = torch.zeros(0, 3)
    state["names: \u00e9 \u2581"] = torch.ones(1, 1, 1)
    # As modules have it: an attribute of the dict.
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return state


def described(state):
    return {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "values": tensor.detach().double().flatten().tolist(),
        }
        for name, tensor in state.items()
    }


def main():
    files = {}
    for name, is_zip in (("new.bin", True), ("old.bin", False)):
        buffer = io.BytesIO()
        torch.save(state_dict(), buffer, _use_new_zipfile_serialization=is_zip)
        files[name] = buffer.getvalue()
    values = described(state_dict())
    if "--check" in sys.argv:
        committed = json.loads((FOLDER / "values.json").read_text())
        for name in files:
            assert described(torch.load(FOLDER / name, weights_only=True)) == committed, name
        assert committed == values
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (FOLDER / name).write_bytes(data)
    (FOLDER / "values.json").write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")


main()
