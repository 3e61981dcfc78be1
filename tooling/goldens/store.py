"""How golden values are written and compared."""

import json

import numpy as np

TOLERANCE = 1e-12


def close(a, b, tolerance=TOLERANCE):
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype == np.float32:
        tolerance = max(tolerance, 1e-6)
    elif a.dtype != np.float64:
        return np.array_equal(a, b)
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))


def compare_tensors(label, old, new, tolerance=TOLERANCE):
    """Faults, as lines of text, between two dicts of arrays."""
    faults = [f"{label}: {name} present on one side only" for name in sorted(old.keys() ^ new.keys())]
    return faults + [f"{label}: {name} differs" for name in sorted(old.keys() & new.keys())
                     if not close(old[name], new[name], tolerance)]


def pretty(value, indent=""):
    """JSON as the repository's formatter writes it: lists of numbers on one line, everything else on lines of its own."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        inner = [f"{deeper}{json.dumps(k)}: {pretty(v, deeper)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{indent}}}"
    if isinstance(value, list) and (any(isinstance(item, (dict, list)) for item in value) or len(json.dumps(value)) > 90):
        return "[\n" + ",\n".join(deeper + pretty(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value).replace("e-0", "e-") if isinstance(value, float) else json.dumps(value)
