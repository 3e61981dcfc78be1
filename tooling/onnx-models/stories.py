"""The graph of the trained model stories260K, without its weights, which are in a Hugging Face folder.

    python stories.py FOLDER          write graphs/stories260K.onnx
    python stories.py FOLDER DIR      write DIR/stories260K.onnx, with its weights

FOLDER holds config.json and model.safetensors. A weight of the graph is named as its tensor there, with ^T where the exporter
has turned it.
"""

import sys
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from export_models import HERE, Outputs, export, text_inputs


def main(folder, target):
    config = LlamaConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    tensors = load_file(Path(folder) / "model.safetensors")
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    path = Path(target or HERE / "graphs") / "stories260K.onnx"
    path.parent.mkdir(exist_ok=True)
    export(Outputs(model.eval(), use_cache=False), text_inputs(), "traced-17", path, ["output"])
    if target:
        return
    graph = onnx.load(str(path))
    names = {}
    for weight in graph.graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(weight).copy())
        if value.numel() < 64:
            continue
        matches = [
            name + turn
            for name, tensor in tensors.items()
            for turn, turned in (("", tensor), ("^T", tensor.t()))
            if turned.shape == value.shape and torch.equal(turned, value)
        ]
        if not matches:
            continue
        names[weight.name] = matches[0]
        weight.name = matches[0]
        weight.ClearField("raw_data")
    for node in graph.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)
    onnx.save(graph, str(path))
    print(len(names), "weights of", len(tensors), path.stat().st_size, "bytes")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
