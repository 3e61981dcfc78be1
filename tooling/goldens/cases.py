"""What a case is, and how one is drawn."""

from dataclasses import dataclass, field

import numpy as np

from philox import Draw


@dataclass
class Case:
    name: str
    op: str
    options: dict
    # Draws the inputs, a dict from role to numpy array; called again with another attempt if scores are too close.
    make: object
    notes: str
    gradients: bool = True
    anchors: list = field(default_factory=list)
    # Cases that differ only in options without influence on the result (query chunks) share one file.
    file: str = ""
    # Whether the indices are defined: not in rows with a NaN score.
    indices: bool = True
    # Ties are intended; otherwise different scores at the boundary must lie further apart than generate.py's margin.
    bounds: dict = field(default_factory=dict)


def qkv(draw, b=1, h=2, lq=7, lk=7, d=4, dv=None, hkv=None, values="uniform"):
    pick = getattr(draw, values)
    hkv, dv = hkv or h, dv or d
    return {"q": pick(b, h, lq, d), "k": pick(b, hkv, lk, d), "v": pick(b, hkv, lk, dv)}


def random_attention(name, extra=None, **shape):
    """make() for random q, k, v of a shape; extra(draw, inputs) adds or changes inputs."""

    def make(attempt):
        draw = Draw(name, attempt)
        inputs = qkv(draw, **shape)
        if extra:
            extra(draw, inputs)
        return inputs

    return make


def lengths(*values):
    return np.array(values, np.int32)
