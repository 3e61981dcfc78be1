"""The grid for topKFeedForward: every activation, both rankings, ties, gates, biases, and anchors 2 and 3."""

import numpy as np

from cases import Case
from philox import Draw

CASES = []


def case(name, notes, k, activation="relu", select="preactivation", x=(6, 5), width=12, out=5, bias_in=False, gate=False,
         bias_out=False, integers=None, edit=None, gradients=True, anchors=(), query_chunk=None, indices=True, file=""):
    def make(attempt):
        draw = Draw(file or name, attempt)
        pick = (lambda *shape: draw.integers(*integers, *shape)) if integers else draw.uniform
        d = x[-1]
        inputs = {"x": pick(*x), "wIn": pick(d, width)}
        if bias_in:
            inputs["bIn"] = pick(width)
        if gate:
            inputs["wGate"] = pick(d, width)
        inputs["wOut"] = draw.uniform(width, out)
        if bias_out:
            inputs["bOut"] = draw.uniform(out)
        if edit:
            edit(inputs)
        return inputs

    options = {"k": k, "activation": activation, "select": select}
    if query_chunk:
        options["queryChunk"] = query_chunk
    CASES.append(Case(name, "topKFeedForward", options, make, notes, gradients, list(anchors), file, indices))


for activation in ("relu", "gelu", "gelu_tanh", "silu"):
    case(f"feed-forward-{activation}", "ranked before the activation, as in the paper", 4, activation)
    case(f"feed-forward-{activation}-contribution", "ranked by |activation| * norm of the output row", 4, activation,
         "contribution")
case("feed-forward-batch", "[B, T, D] with both biases, another output width", 5, "gelu", x=(2, 4, 5), out=7, bias_in=True,
     bias_out=True)
case("feed-forward-gated", "T5 v1.1: the activation is multiplied by the gate; ranked by the raw product", 5, "gelu_tanh",
     x=(2, 4, 5), gate=True)
case("feed-forward-gated-contribution", "ranked by |activation * gate| * norm", 5, "gelu_tanh", "contribution", x=(2, 4, 5),
     gate=True)
case("feed-forward-gated-everything", "gate, biases, contribution, silu", 6, "silu", "contribution", x=(2, 3, 5), out=4,
     bias_in=True, gate=True, bias_out=True)
case("feed-forward-k1", "one hidden unit per token", 1)
case("feed-forward-one-token", "T = 1, D = 1, one unit", 1, "silu", x=(1, 1), width=1, out=1)
for k, label in ((12, "equals"), (40, "above")):
    case(f"anchor-2-feed-forward-k-{label}-width", "every unit is kept: the dense layer", k, "gelu", bias_in=True,
         bias_out=True, anchors=[2])
for chunk in (1, 4, 64):
    case(f"anchor-1-feed-forward-chunk-{chunk}", "tokens in chunks of any size", 4, x=(2, 5, 4), query_chunk=chunk, anchors=[1],
         file="anchor-1-feed-forward")


def few_positive(inputs):
    inputs["bIn"] = inputs["bIn"] - 5.0


case("anchor-3-feed-forward-few-positive", "at most k positive pre-activations per token: relu top-k is the dense layer", 6,
     bias_in=True, bias_out=True, x=(8, 5), width=24, edit=few_positive, anchors=[3])
case("feed-forward-wide", "300 hidden units, k 16", 16, x=(5, 4), width=300, out=3)
case("tie-feed-forward-integers", "integer weights, few distinct pre-activations: the lower unit wins", 5, x=(6, 4), width=20,
     integers=(-1, 1))
case("tie-feed-forward-gelu", "ties before a smooth activation", 5, "gelu", x=(6, 4), width=20, integers=(-1, 1))
case("tie-feed-forward-wide", "ties over 300 units", 16, "gelu_tanh", x=(3, 4), width=300, out=3, integers=(-1, 1))


def equal_units(inputs):
    inputs["wIn"][:] = inputs["wIn"][:, :1]
    inputs["wOut"][:] = inputs["wOut"][:1]


case("tie-feed-forward-contribution", "all units alike, ranked by contribution: the first k", 4, "silu", "contribution",
     edit=equal_units)


def inactive(inputs):
    inputs["x"][1] = -1.0
    inputs["wIn"] = np.abs(inputs["wIn"])


case("tie-feed-forward-contribution-zero", "token 1 has no active unit: all contributions are 0, the first k are kept", 4,
     select="contribution", edit=inactive)


def bad_unselected(value):
    def edit(inputs):
        inputs["x"] = np.abs(inputs["x"]) + 0.25
        inputs["wIn"][:, 3] = -4.0
        inputs["wOut"][3] = value

    return edit


case("feed-forward-nan-unselected-row", "the output row of a unit that no token keeps is NaN: all stays finite", 4, "gelu",
     edit=bad_unselected(np.nan))
case("feed-forward-infinite-unselected-row", "the output row of a unit that no token keeps is +inf", 4,
     edit=bad_unselected(np.inf))


def nan_token(inputs):
    inputs["x"][2, 1] = np.nan


case("feed-forward-nan-token", "a NaN token: its row is NaN, the others are not", 4, "gelu", edit=nan_token, bias_out=True,
     gradients=False, indices=False)
