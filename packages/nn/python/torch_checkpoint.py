#!/usr/bin/env python3
"""Moves a training run between @topk-attention/nn and PyTorch, either way.

  torch_checkpoint.py to-torch runs/checkpoint-500 run.pt --optimizer adamw --lr 3e-4
  torch_checkpoint.py from-torch run.pt runs --step 800

A checkpoint is a folder that `train` of @topk-attention/nn wrote (model.safetensors, optimizer.safetensors,
trainer_state.json). A .pt file is a dict for torch.load: "model" (a state_dict), "optimizer" (the state_dict of a
torch.optim optimiser), "names" (the parameters of each of its groups, in order) and "trainer" (where the run stood).
AdamW, Adam and SGD are moved. Needs torch; nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import pathlib
import re
import secrets
import shutil
import struct
import sys

FORMAT = "topk-attention checkpoint 1"
FILES = ("model.safetensors", "optimizer.safetensors", "trainer_state.json")
# The names of nn's noDecay().
NO_DECAY = re.compile(r"bias|norm|(^|\.)ln_", re.IGNORECASE)
ADAM_SLOTS = ("exp_avg", "exp_avg_sq")
LARGEST = "max_exp_avg_sq"
MOMENTUM = "momentum_buffer"


class Fault(Exception):
    """Something that cannot be moved, in words for the person who asked."""


def is_count(number):
    # A bool is an int in Python.
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def read_safetensors(path):
    """Names to float32 tensors, every length checked."""
    import torch

    try:
        data = path.read_bytes()
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror}") from error
    if len(data) < 8:
        raise Fault(f"{path} ends after {len(data)} bytes: the file is cut off")
    (length,) = struct.unpack("<Q", data[:8])
    if 8 + length > len(data):
        raise Fault(f"{path} ends inside its header: the file is cut off")
    try:
        header = json.loads(data[8 : 8 + length])
        written = header.pop("__metadata__", {}).get("format")
        entries = []
        for name, one in header.items():
            dtype, shape, (begin, end) = one["dtype"], one["shape"], one["data_offsets"]
            if not all(is_count(number) for number in (*shape, begin, end)):
                raise ValueError(name)
            entries.append((name, dtype, shape, begin, end))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Fault(f"{path} is not a safetensors file: its header is broken") from error
    if written != FORMAT:
        raise Fault(f"{path} is of format {written!r} where {FORMAT!r} was expected: is it a checkpoint of train()?")
    body = memoryview(data)[8 + length :]
    tensors = {}
    for name, dtype, shape, begin, end in entries:
        if dtype != "F32" or end - begin != 4 * math.prod(shape):
            raise Fault(f"{path}: {name} is {dtype} with {end - begin} bytes, expected F32 {shape}")
        if not 0 <= begin <= end <= len(body):
            raise Fault(f"{path} ends inside {name}: the file is cut off")
        flat = torch.frombuffer(bytearray(body[begin:end]), dtype=torch.float32) if end > begin else torch.zeros(0)
        tensors[name] = flat.reshape(shape)
    return tensors


def write_safetensors(path, tensors):
    """The bytes that nn writes for the same tensors: names ascending, the header padded to 8 bytes."""
    header, position = {"__metadata__": {"format": FORMAT}}, 0
    # By UTF-16 units, as JavaScript compares.
    names = sorted(tensors, key=lambda name: name.encode("utf-16-be"))
    for name in names:
        size = 4 * tensors[name].numel()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    # Not through numpy, which torch may lack.
    whole = [tensors[name].contiguous() for name in names]
    data = (ctypes.string_at(one.data_ptr(), 4 * one.numel()) for one in whole)
    write_synced(path, struct.pack("<Q", len(text)) + text, *data)


def write_synced(path, *parts):
    with open(path, "xb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def transposed(tensors, pattern):
    """Matrices whose parameter the pattern finds are turned around: nn's [in, out] is [out, in] in torch.nn.Linear."""
    if pattern is None:
        return dict(tensors)
    return {name: one.T.contiguous() if one.dim() == 2 and pattern.search(name) else one for name, one in tensors.items()}


def read_trainer(folder):
    path = folder / FILES[2]
    try:
        trainer = json.loads(path.read_text(encoding="utf-8"))
        counts = dict(trainer["optimizer_steps"].items())
        loader = trainer["loader"]
        numbers = {"global_step": trainer["global_step"], "seed": trainer["seed"]}
        numbers |= {f"loader.{name}": loader[name] for name in ("epoch", "batch")}
        numbers |= {f"optimizer_steps of {name}": count for name, count in counts.items()}
        wrong = [name for name, number in numbers.items() if not is_count(number)]
        if wrong:
            raise ValueError(f"{wrong[0]} is {numbers[wrong[0]]!r}, not a whole number of at least 0")
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Fault(f"{path} is not the JSON of a training run ({error!r})") from error
    return trainer, counts


def settings_of(arguments, slots):
    """Options of the torch optimiser, from the command line and from what the state has."""
    names = {
        "adamw": ("lr", "betas", "eps", "weight_decay"),
        "adam": ("lr", "betas", "eps", "weight_decay"),
        "sgd": ("lr", "momentum", "dampening", "weight_decay", "nesterov"),
    }[arguments.optimizer]
    given = {
        name: value
        for name in ("lr", "betas", "eps", "weight_decay", "momentum", "dampening", "nesterov")
        if (value := getattr(arguments, name)) is not None
    }
    unknown = [f"--{name.replace('_', '-')}" for name in given if name not in names]
    if unknown:
        raise Fault(f"{arguments.optimizer} has no {', '.join(unknown)}")
    if arguments.optimizer != "sgd":
        return {**given, "amsgrad": LARGEST in slots}
    if (MOMENTUM in slots) != bool(given.get("momentum")):
        has = "has momentum buffers: pass --momentum" if MOMENTUM in slots else "has none: leave --momentum out"
        raise Fault(f"the checkpoint {has}")
    return given


def slots_of(kind, names, state):
    """Names of the slots that the state has for the parameters, which have to be those of the optimiser."""
    found = set()
    left = set(state)
    for name in names:
        for slot in (*ADAM_SLOTS, LARGEST, MOMENTUM):
            if f"{name}.{slot}" in left:
                found.add(slot)
                left.discard(f"{name}.{slot}")
    if left:
        raise Fault(f"the optimiser's state has {sorted(left)[0]}: only AdamW, Adam and SGD are moved, and of the model's names")
    known = {frozenset(ADAM_SLOTS), frozenset((*ADAM_SLOTS, LARGEST))} if kind != "sgd" else {frozenset(), frozenset({MOMENTUM})}
    if frozenset(found) not in known:
        raise Fault(f"the state has {', '.join(sorted(found)) or 'no slots'}: that is not {kind}")
    return found


def to_torch(arguments):
    folder = pathlib.Path(arguments.checkpoint)
    trainer, counts = read_trainer(folder)
    import torch

    model = read_safetensors(folder / FILES[0])
    state = read_safetensors(folder / FILES[1])
    slots = slots_of(arguments.optimizer, model, state)
    settings = settings_of(arguments, slots)
    missing = [f"{name}.{slot}" for name in model for slot in slots if f"{name}.{slot}" not in state]
    if missing:
        raise Fault(f"the optimiser's state lacks {missing[0]}")
    for name in model:
        for slot in slots:
            if (own := state[f"{name}.{slot}"]).shape != model[name].shape:
                raise Fault(f"{slot} of {name} has shape {list(own.shape)}, the parameter {list(model[name].shape)}")
    # Names of slots end in their own: what finds `w` finds `w.exp_avg` by the parameter's name.
    by_slot = {slot: transposed({name: state[f"{name}.{slot}"] for name in model}, arguments.transpose) for slot in slots}
    model = transposed(model, arguments.transpose)
    groups = [list(model)]
    if arguments.no_decay:
        groups = [[n for n in model if not NO_DECAY.search(n)], [n for n in model if NO_DECAY.search(n)]]
    parameters = {name: torch.nn.Parameter(one) for name, one in model.items()}
    cls = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[arguments.optimizer]
    decays = [{}, {"weight_decay": 0.0}]
    groups, decays = zip(*((names, decay) for names, decay in zip(groups, decays) if names))
    try:
        optimizer = cls([{"params": [parameters[n] for n in names], **decay} for names, decay in zip(groups, decays)], **settings)
    except ValueError as error:
        raise Fault(f"torch refuses the settings: {error}") from error
    for name, parameter in parameters.items():
        # Without a step torch begins anew, and nn's slots are 0.
        if counts.get(name, 0) == 0:
            continue
        own = {slot: by_slot[slot][name] for slot in slots}
        if arguments.optimizer != "sgd":
            own["step"] = torch.tensor(float(counts[name]))
        optimizer.state[parameter] = own
    saved = {
        "model": model,
        "optimizer": optimizer.state_dict(),
        "names": [list(names) for names in groups],
        "trainer": {"global_step": trainer["global_step"], "seed": trainer["seed"], "loader": trainer["loader"]},
    }
    target = pathlib.Path(arguments.file)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        torch.save(saved, temporary)
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:
        raise Fault(f"cannot write {target}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    print(f"{target}: {len(model)} parameters, {arguments.optimizer}, step {trainer['global_step']}")


def read_torch(path):
    import torch

    try:
        # Tensors and plain data only: nothing in the file is run.
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Fault(f"{path} is not a .pt file of tensors and plain data: {reason}") from error
    if not isinstance(saved, dict) or not {"model", "optimizer"} <= saved.keys():
        raise Fault(f'{path} has no "model" and "optimizer": save {{"model": model.state_dict(), "optimizer": optimizer.state_dict()}}')
    model, optimizer = saved["model"], saved["optimizer"]
    if not is_dict_of(model, torch.Tensor):
        raise Fault(f'{path}: "model" is not a state_dict of tensors')
    if not isinstance(optimizer, dict) or not {"state", "param_groups"} <= optimizer.keys():
        raise Fault(f'{path}: "optimizer" is not a state_dict of a torch.optim optimiser')
    groups, states = optimizer["param_groups"], optimizer["state"]
    if not is_list_of(groups, dict) or not all(is_list_of(group.get("params"), int) for group in groups):
        raise Fault(f'{path}: "param_groups" of "optimizer" is not a list of groups with their "params"')
    if not isinstance(states, dict) or not all(isinstance(own, dict) for own in states.values()):
        raise Fault(f'{path}: "state" of "optimizer" does not hold a dict for each parameter')
    names = saved.get("names")
    if names is not None and not (isinstance(names, (list, tuple)) and all(is_list_of(group, str) for group in names)):
        raise Fault(f'{path}: "names" is not a list of names for each group')
    trainer = saved.get("trainer")
    if trainer is None:
        return saved
    if not isinstance(trainer, dict) or not is_count(trainer.get("seed", 0)):
        raise Fault(f'{path}: "trainer" is not a dict with a whole "seed"')
    loader = trainer.get("loader", {"epoch": 0, "batch": 0})
    if not isinstance(loader, dict) or not all(is_count(loader.get(name)) for name in ("epoch", "batch")):
        raise Fault(f'{path}: "loader" of "trainer" is not a dict with a whole "epoch" and "batch"')
    return saved


def is_list_of(value, kind):
    return isinstance(value, (list, tuple)) and all(isinstance(one, kind) for one in value)


def is_dict_of(value, kind):
    return isinstance(value, dict) and all(isinstance(name, str) and isinstance(one, kind) for name, one in value.items())


def parameter_names(saved):
    """Names of the optimiser's parameters by the number that its state has for them."""
    groups = saved["optimizer"]["param_groups"]
    names = saved.get("names") or [group.get("param_names") for group in groups]
    numbers = [number for group in groups for number in group["params"]]
    flat = list(saved["model"]) if not all(is_list_of(group, str) for group in names) else [name for group in names for name in group]
    if len(flat) != len(numbers):
        raise Fault(
            f'the optimiser has {len(numbers)} parameters and there are {len(flat)} names: save "names" too, '
            "a list of names for each of its groups"
        )
    twice = [name for at, name in enumerate(flat) if name in flat[:at]]
    if twice:
        raise Fault(f"{twice[0]} is among the names twice")
    unknown = [name for name in flat if name not in saved["model"]]
    if unknown:
        raise Fault(f'{unknown[0]} is among the names, but not in "model"')
    return dict(zip(numbers, flat))


def torch_slots(groups):
    if all("betas" in group and "amsgrad" in group for group in groups):
        return {*ADAM_SLOTS, *([LARGEST] if any(group["amsgrad"] for group in groups) else [])}
    if all("momentum" in group and "dampening" in group for group in groups):
        return {MOMENTUM} if any(group["momentum"] for group in groups) else set()
    raise Fault("only AdamW, Adam and SGD are moved")


def step_of(name, step):
    try:
        number = float(step)
        if number < 0 or number != int(number):
            raise ValueError
        return int(number)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise Fault(f"step of {name} is {step!r}, not a whole number of at least 0") from error


def from_torch(arguments):
    import torch

    saved = read_torch(arguments.file)
    model = {}
    for name, one in saved["model"].items():
        if not one.is_floating_point():
            raise Fault(f'{name} is {one.dtype}: leave what is no parameter out of "model"')
        model[name] = one.detach().float()
    slots = torch_slots(saved["optimizer"]["param_groups"])
    names, states = parameter_names(saved), saved["optimizer"]["state"]
    strange = [number for number in states if number not in names]
    if strange:
        raise Fault(f"the optimiser's state has a parameter {strange[0]!r} that is in none of its groups")
    by_name = {names[number]: own for number, own in states.items()}
    steps = {name: step_of(name, own["step"]) for name, own in by_name.items() if "step" in own}
    step = arguments.step if arguments.step is not None else max(steps.values(), default=None)
    if step is None:
        raise Fault("SGD does not count its steps: pass --step, with all that were made")
    counts = {
        # Without momentum there is no state, and a count changes nothing.
        name: steps.get(name, step if not slots or by_name.get(name, {}).get(MOMENTUM) is not None else 0)
        for name in model
    }
    state = {}
    for slot in slots:
        own = {name: by_name.get(name, {}).get(slot) for name in model}
        plain = [name for name, one in own.items() if one is not None and not isinstance(one, torch.Tensor)]
        if plain:
            raise Fault(f"{slot} of {plain[0]} is {type(own[plain[0]]).__name__}, not a tensor")
        filled = {n: torch.zeros_like(model[n]) if one is None else one.detach().float() for n, one in own.items()}
        wrong = [name for name, one in filled.items() if one.shape != model[name].shape]
        if wrong:
            raise Fault(f"{slot} of {wrong[0]} has shape {list(filled[wrong[0]].shape)}, the parameter {list(model[wrong[0]].shape)}")
        state |= {f"{name}.{slot}": one for name, one in transposed(filled, arguments.transpose).items()}
    trainer = saved.get("trainer") or {}
    loader = trainer.get("loader") or {"epoch": 0, "batch": 0}
    write_checkpoint(
        pathlib.Path(arguments.folder),
        transposed(model, arguments.transpose),
        state,
        {
            "global_step": step,
            "seed": arguments.seed if arguments.seed is not None else trainer.get("seed", 42),
            "loader": {
                "epoch": arguments.epoch if arguments.epoch is not None else loader["epoch"],
                "batch": arguments.batch if arguments.batch is not None else loader["batch"],
            },
            "evaluations_since_best": 0,
            "optimizer_steps": counts,
        },
    )


def write_checkpoint(folder, model, state, trainer):
    """Whole or not at all: under another name first, one that nn's folderStore knows as unfinished."""
    target = folder / f"checkpoint-{trainer['global_step']}"
    if target.exists():
        raise Fault(f"{target} already exists: remove it, or name another folder")
    temporary = folder / f"{target.name}.{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir(parents=True)
        write_safetensors(temporary / FILES[0], model)
        write_safetensors(temporary / FILES[1], state)
        write_synced(temporary / FILES[2], (json.dumps(trainer, indent=2, ensure_ascii=False) + "\n").encode())
        temporary.rename(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise Fault(f"cannot write {target}: {error.strerror or error}") from error
    at = trainer["loader"]
    print(f"{target}: {len(model)} parameters, seed {trainer['seed']}, data from epoch {at['epoch']}, batch {at['batch']}")


def pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from error


def count(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def parsed(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Exit codes: 0 moved, 1 not moved (the reason is printed), 2 wrong usage.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def common(one):
        one.add_argument("--transpose", metavar="REGEX", type=pattern,
                         help="matrices to transpose, by name: nn's [in, out] is [out, in] in torch.nn.Linear")

    to = commands.add_parser("to-torch", help="a checkpoint of nn to a .pt file",
                             description="Settings that are not given are PyTorch's defaults, which are nn's too.")
    to.add_argument("checkpoint", help="the folder checkpoint-STEP")
    to.add_argument("file", help="the .pt file to write")
    to.add_argument("--optimizer", choices=["adamw", "adam", "sgd"], required=True, help="what the run was trained with")
    to.add_argument("--lr", type=float)
    to.add_argument("--betas", type=float, nargs=2, metavar=("FIRST", "SECOND"))
    to.add_argument("--eps", type=float)
    to.add_argument("--weight-decay", type=float)
    to.add_argument("--momentum", type=float, help="SGD")
    to.add_argument("--dampening", type=float, help="SGD")
    to.add_argument("--nesterov", action="store_const", const=True, help="SGD")
    to.add_argument("--no-decay", action="store_true",
                    help="biases and norms in a second group without weight decay, as with nn's noDecay()")
    common(to)
    to.set_defaults(run=to_torch)

    back = commands.add_parser("from-torch", help="a .pt file to a checkpoint of nn",
                               description="Go on with train({ checkpoints: folderStore(FOLDER), resume: true, ... }).")
    back.add_argument("file", help='the .pt file: {"model": ..., "optimizer": ...}, and "names" where the orders differ')
    back.add_argument("folder", help="where checkpoint-STEP is written")
    back.add_argument("--step", type=count, help="steps made in all; default: the largest count of the state (not SGD)")
    back.add_argument("--seed", type=count, help="seed of the run; default: that of the file, or 42")
    back.add_argument("--epoch", type=count, help="where the data goes on; default: as in the file, or 0")
    back.add_argument("--batch", type=count, help="batches of that epoch that were used; default: as in the file, or 0")
    common(back)
    back.set_defaults(run=from_torch)
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parsed(argv)
    try:
        arguments.run(arguments)
    except ModuleNotFoundError as error:
        print(f"torch_checkpoint.py: {error.name} is missing: pip install torch", file=sys.stderr)
        return 1
    except Fault as fault:
        print(f"torch_checkpoint.py: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
