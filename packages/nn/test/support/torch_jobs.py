"""Does jobs with torch_checkpoint.py and torch in one process, as importing torch takes seconds: a list in, a list out.

A job is {"command": [...]}, a command line of torch_checkpoint.py that gives {"code", "stderr"}; {"steps": {...}}, a training
of the toy model; {"fixture": FILE}, a small .pt file of stated numbers; or {"plain": {"save", "value"}}, one without tensors.
"""

import contextlib
import io
import json
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
import torch_checkpoint  # noqa: E402

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def command(argv):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = torch_checkpoint.main(argv)
        except SystemExit as end:
            code = end.code
    return {"code": code, "stderr": errors.getvalue()}


class Toy(torch.nn.Module):
    """toy-run.mjs with torch's own layers, whose weights are [out, in]."""

    def __init__(self):
        super().__init__()
        # Not the order of the names.
        self.out = torch.nn.Linear(16, 2)
        self.hidden = torch.nn.Linear(2, 16)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def steps(job):
    model = Toy()
    cls = OPTIMIZERS[job["optimizer"]]
    if "load" in job:
        # As the README says; the settings come from the file.
        saved = torch.load(job["load"], weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer = cls([{"params": [model.get_parameter(name) for name in names]} for names in saved["names"]])
        optimizer.load_state_dict(saved["optimizer"])
    else:
        initial = {name: torch.tensor(values) for name, values in job["initial"].items()}
        weights = {name: initial[name].reshape(one.T.shape).T if one.dim() == 2 else initial[name]
                   for name, one in model.state_dict().items()}
        model.load_state_dict(weights)
        optimizer = cls(model.parameters(), **job["settings"])
    x, targets = torch.tensor(job["x"]).reshape(-1, 2), torch.tensor(job["targets"])
    for _ in range(job["steps"]):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), targets).backward()
        optimizer.step()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    if "load" in job:
        saved["names"] = torch.load(job["load"], weights_only=True)["names"]
    torch.save(saved, job["save"])
    return "saved"


def fixture(path):
    weight = torch.nn.Parameter((torch.arange(6.0) / 4).reshape(3, 2))
    bias = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    optimizer = torch.optim.AdamW([bias, weight])
    optimizer.state[weight] = {"step": torch.tensor(3.0), "exp_avg": weight.detach() / 2, "exp_avg_sq": weight.detach() / 8}
    # The bias has never had a gradient.
    saved = {"model": {"proj.weight": weight.detach(), "proj.bias": bias.detach()}, "optimizer": optimizer.state_dict()}
    torch.save({**saved, "names": [["proj.bias", "proj.weight"]]}, path)
    return "saved"


def plain(job):
    torch.save(job["value"], job["save"])
    return "saved"


torch.set_num_threads(1)
kinds = {"command": command, "steps": steps, "fixture": fixture, "plain": plain}
json.dump([kinds[kind](job) for each in json.load(sys.stdin) for kind, job in each.items()], sys.stdout)
