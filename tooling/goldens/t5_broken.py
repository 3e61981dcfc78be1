"""Checkpoints that must not load: each folder has one fault. `control` has none.

The faults are in the first 8 bytes (length of the header), in the header (JSON) or in the data. Every folder whose file
breaks the format is also shown to the reference implementation of safetensors, which must refuse it.
"""

import json
import struct

from safetensors import SafetensorError
from safetensors.torch import load as load_torch
from safetensors.torch import save as save_torch

from store import pretty

VICTIM = "encoder.block.0.layer.0.SelfAttention.q.weight"


def pack(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def parse(file):
    (length,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + length]), file[8 + length :]


def edited(file, name, **changes):
    header, data = parse(file)
    header[name] = {**header[name], **changes}
    return pack(header, data)


def with_hole(file):
    """Eight bytes before the last tensor that belong to none."""
    header, data = parse(file)
    last = max((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"][0])
    begin, end = header[last]["data_offsets"]
    header[last]["data_offsets"] = [begin + 8, end + 8]
    return pack(header, data[:begin] + bytes(8) + data[begin:])


def twice(file):
    """The name of a tensor occurs twice in the JSON."""
    header, data = parse(file)
    text = json.dumps(header, separators=(",", ":"))
    again = json.dumps({VICTIM: header[VICTIM]}, separators=(",", ":"))
    return pack((text[:-1] + "," + again[1:]).encode(), data)


def broken_files(state, config):
    good = save_torch(state, metadata={"format": "pt"})
    header, data = parse(good)
    begin, end = header[VICTIM]["data_offsets"]
    length = struct.unpack("<Q", good[:8])[0]
    # name: (file, breaks the format, what is wrong)
    weights = {
        "control": (good, False, "nothing: this one loads"),
        "empty": (b"", True, "0 bytes"),
        "truncated-length": (good[:5], True, "ends inside the 8 bytes of the header length"),
        "truncated-header": (good[: 8 + length // 2], True, "ends inside the header"),
        "truncated-data": (good[: 8 + length + len(data) // 2], True, "ends half way through the data"),
        "truncated-last-byte": (good[:-1], True, "the last byte is missing"),
        "trailing-bytes": (good + bytes(16), True, "16 bytes after the last tensor"),
        "header-length-zero": (struct.pack("<Q", 0) + good[8:], True, "header length 0"),
        "header-length-beyond-file": (struct.pack("<Q", len(good)) + good[8:], True, "header longer than the file"),
        "header-length-huge": (struct.pack("<Q", 2**63 + 1) + good[8:], True, "header length 2^63 + 1"),
        "header-not-json": (pack(b"{" + b"x" * 63, data), True, "header is not JSON"),
        "header-array": (pack(b"[]", data), True, "header is JSON but no object"),
        "offsets-beyond-file": (edited(good, VICTIM, data_offsets=[begin, end + len(data)],
                                       shape=[1, (end - begin + len(data)) // 4]), True, "a tensor ends past the end of the file"),
        "offsets-overlapping": (edited(good, VICTIM, data_offsets=[begin - 64, end - 64]), True, "two tensors share 64 bytes"),
        "offsets-reversed": (edited(good, VICTIM, data_offsets=[end, begin]), True, "end before begin"),
        "offsets-negative": (edited(good, VICTIM, data_offsets=[-64, end - begin - 64]), True, "begin below 0"),
        "offsets-hole": (with_hole(good), True, "8 bytes between tensors belong to none"),
        "shape-mismatch": (edited(good, VICTIM, shape=[8, 17]), True, "shape needs more bytes than the offsets give"),
        "shape-huge": (edited(good, VICTIM, shape=[2**30, 2**30]), True, "claims 4 EiB"),
        "shape-overflow": (edited(good, VICTIM, shape=[2**62, 8]), True, "the number of bytes overflows 64 bits to 0"),
        "shape-negative": (edited(good, VICTIM, shape=[-8, -16]), True, "negative dimensions whose product is right"),
        "dtype-unknown": (edited(good, VICTIM, dtype="F7"), True, "a dtype that does not exist"),
        "duplicate-name": (twice(good), False, "a tensor name twice in the header (parsers differ: refuse it, or take the last)"),
        "missing-weight": (save_torch({n: t for n, t in state.items() if n != VICTIM}), False, f"{VICTIM} is not there"),
        "extra-weight": (save_torch({**state, "encoder.block.7.layer.0.SelfAttention.q.weight": state[VICTIM].clone()}), False,
                         "a weight of a layer that config.json does not have"),
        "wrong-shape": (save_torch({**state, VICTIM: state[VICTIM][:, :-1].contiguous()}), False,
                        f"{VICTIM} is one column short of what config.json asks for"),
        "wrong-dtype": (save_torch({**state, VICTIM: state[VICTIM].to(dtype=__import__("torch").int32)}), False,
                        f"{VICTIM} holds integers"),
    }
    configs = {
        "unknown-model-type": ({**config, "model_type": "frobnicator"}, "config.json has an unknown model_type"),
        "config-without-d-model": ({k: v for k, v in config.items() if k != "d_model"}, "config.json lacks d_model"),
        "config-negative-layers": ({**config, "num_layers": -1}, "config.json has num_layers -1"),
        "config-unknown-activation": ({**config, "feed_forward_proj": "swoosh", "dense_act_fn": "swoosh"},
                                      "config.json has an unknown feed_forward_proj"),
    }
    files, entries = {}, []

    def folder(name, weights_file, settings, note, refused):
        files[f"broken/{name}/model.safetensors"] = weights_file
        files[f"broken/{name}/config.json"] = pretty(dict(sorted(settings.items()))).encode() + b"\n"
        entries.append({"folder": f"broken/{name}", "fault": note, "invalidFormat": refused})

    for name, (file, invalid, note) in weights.items():
        if invalid:
            try:
                load_torch(file)
            except (SafetensorError, KeyError, ValueError, TypeError):
                pass
            else:
                raise AssertionError(f"safetensors loads broken/{name}")
        folder(name, file, config, note, invalid)
    for name, (settings, note) in configs.items():
        folder(name, good, settings, note, False)
    return files, entries
