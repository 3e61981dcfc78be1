"""Writes the golden values of the conformance suite, or checks that they can be made again.

    python tooling/goldens/generate.py            write packages/conformance/goldens
    python tooling/goldens/generate.py --check    make them in memory and compare within 1e-12; exit 1 on a difference

Before anything is written, the formulas are held against a second implementation, against torch's own attention and
against the known answers of Philox4x32-10 (check_* below).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save

import formulas
from cases_attention import CASES as ATTENTION
from cases_feed_forward import CASES as FEED_FORWARD
from philox import Draw, check_known_answers, random_bits, seed_words
from store import TOLERANCE, close, compare_tensors, pretty

OUT = Path(__file__).resolve().parents[2] / "packages" / "conformance" / "goldens"
VERSION = 1
# Different scores at the selection boundary lie at least this far apart, so f32 backends must agree on the sets.
MARGIN = 2e-5
# (buckets, maxDistance): T5's own, those of the small cases, and those of models for longer texts.
BUCKETS = ((32, 128), (8, 16), (16, 64), (128, 2048))


def tensors_of(inputs, gradients):
    return {role: torch.from_numpy(np.array(array)).requires_grad_(gradients and array.dtype == np.float64)
            for role, array in inputs.items()}


def differentiate(out, cotangent, tensors):
    """Gradients for every float input; an output that does not depend on an input gives zeros."""
    roles = [role for role, tensor in tensors.items() if tensor.requires_grad]
    if not out.requires_grad:
        return {role: torch.zeros_like(tensors[role]) for role in roles}
    grads = torch.autograd.grad(out, [tensors[r] for r in roles], cotangent, allow_unused=True)
    return {r: torch.zeros_like(tensors[r]) if g is None else g for r, g in zip(roles, grads)}


def check_attention(case, tensors, out, grads, cotangent):
    """The second implementation, and torch's attention where it can do the same."""
    if not all(np.isfinite(t.detach().numpy()).all() for r, t in tensors.items() if r in ("q", "k", "v")):
        return
    if "bias" in tensors and not (tensors["bias"] < np.inf).all():
        return
    twin = {r: t.detach().clone().requires_grad_(t.requires_grad) for r, t in tensors.items()}
    other = formulas.attention_dense(twin, case.options)
    assert close(other.detach().numpy(), out.detach().numpy()), f"{case.name}: outputs of the two implementations differ"
    if grads is not None:
        for role, grad in differentiate(other, cotangent, twin).items():
            assert close(grad.numpy(), grads[role].numpy()), f"{case.name}: gradients for {role} differ"
    # torch's own attention, where every key is kept, no row is empty and nothing is dropped
    top_k = case.options.get("k", tensors["k"].shape[2])
    if top_k >= tensors["k"].shape[2] and "dropout" not in case.options:
        x = {r: t.detach() for r, t in tensors.items()}
        scores = formulas.scores_of(x, case.options)
        visible = torch.from_numpy(formulas.visible_keys(x, case.options, tuple(scores.shape)))
        extra = (scores - formulas.scores_of({r: x[r] for r in ("q", "k")}, {**case.options, "relativeBias": None}))
        full = (visible & (scores > -np.inf)).any(-1, keepdim=True)
        group = x["q"].shape[1] // x["k"].shape[1]
        theirs = torch.nn.functional.scaled_dot_product_attention(
            x["q"], x["k"].repeat_interleave(group, 1), x["v"].repeat_interleave(group, 1),
            attn_mask=extra.masked_fill(~visible, -np.inf), scale=case.options.get("scale"))
        assert close(torch.where(full, theirs, 0.0).numpy(), torch.where(full, out.detach(), 0.0).numpy(), 1e-11), case.name


def check_feed_forward(case, tensors, out, grads, cotangent):
    """Anchors 2 and 3: these cases equal the dense layer."""
    if not any("feed-forward" in case.name and a in (2, 3) for a in case.anchors):
        return
    twin = {r: t.detach().clone().requires_grad_(True) for r, t in tensors.items()}
    dense = formulas.feed_forward_dense(twin, case.options)
    assert close(dense.detach().numpy(), out.detach().numpy()), case.name
    for role, grad in differentiate(dense, cotangent, twin).items():
        assert close(grad.numpy(), grads[role].numpy()), f"{case.name}: gradient for {role}"


def check_buckets():
    """T5 computes its buckets in f32, ours in f64: they must agree wherever a case, or a model, looks."""
    for buckets, distance in BUCKETS:
        for two_way in (True, False):
            relative = np.arange(-4096, 4097)
            half = buckets // 2 if two_way else buckets
            exact = half // 2
            away = torch.from_numpy(np.abs(relative) if two_way else np.maximum(-relative, 0))
            large = exact + (torch.log(away.float() / exact) / np.log(distance / exact) * (half - exact)).to(torch.long)
            large = torch.min(large, torch.full_like(large, half - 1))
            bucket = torch.where(away < exact, away, large)
            if two_way:
                bucket = bucket + torch.from_numpy(relative > 0).long() * half
            assert np.array_equal(bucket.numpy(), formulas.relative_buckets(relative, buckets, two_way, distance))


def build(case):
    """Tensors and manifest entry of one attention or feed-forward case."""
    attention = case.op != "topKFeedForward"
    compute = formulas.attention if attention else formulas.feed_forward
    for attempt in range(50):
        inputs = case.make(attempt)
        tensors = tensors_of(inputs, case.gradients)
        out, indices, gap = compute(tensors, case.options)
        if gap > MARGIN:
            break
    else:
        raise AssertionError(f"{case.name}: no draw with a gap of {MARGIN} at the boundary")
    arrays = dict(inputs)
    entry = {"name": case.name, "op": case.op, "options": case.options, "file": f"{case.file or case.name}.safetensors",
             "inputs": {role: role for role in inputs}, "outputs": {"out": "out"}, "gradients": {}, "notes": case.notes,
             "anchors": case.anchors}
    arrays["out"] = out.detach().numpy()
    if indices is not None and case.indices:
        arrays["indices"] = indices
        entry["outputs"]["indices"] = "indices"
    if np.isfinite(gap):
        entry["selectionGap"] = float(f"{gap:.3g}")
    if case.bounds:
        entry["bounds"] = case.bounds
    grads = cotangent = None
    if case.gradients:
        cotangent = torch.from_numpy(Draw(f"{case.file or case.name} dOut").uniform(*out.shape))
        grads = differentiate(out, cotangent, tensors)
        arrays["dOut"] = cotangent.numpy()
        entry["cotangent"] = "dOut"
        for role, grad in grads.items():
            assert torch.isfinite(grad).all(), f"{case.name}: gradient for {role} is not finite"
            arrays[f"d.{role}"] = grad.numpy()
            entry["gradients"][role] = f"d.{role}"
    (check_attention if attention else check_feed_forward)(case, tensors, out, grads, cotangent)
    return {name: np.ascontiguousarray(a) for name, a in arrays.items()}, entry


def random_bits_cases():
    """Raw bits, stored as the i32 with the same pattern."""
    wrap = 2**32 - 2
    # known-answer: the one of the published vectors whose key is a seed below 2^53; first word 0x6627e8d5.
    grid = [("known-answer", 0, [0, 0, 0, 0], [1]), ("rank-0", 1 + 2 * 2**32, [3, 4, 5, 6], []),
            ("rank-1", 0, [0, 0, 0, 0], [16]), ("rank-2", 42, [0, 0, 0, 0], [3, 5]),
            ("rank-3", 42 + 7 * 2**32, [1, 0, 2, 9], [2, 3, 4]), ("rank-4", 2**53 - 1, [0, 1, 0, 100], [2, 2, 3, 4]),
            ("wrap", 5 + 6 * 2**32, [wrap, wrap, wrap, wrap], [4, 3, 3, 4])]
    arrays, entries = {}, []
    for label, seed, offset, shape in grid:
        arrays[label] = random_bits(seed_words(seed), offset, shape).view(np.int32).reshape(shape)
        entries.append({
            "name": f"random-bits-{label}", "op": "randomBits", "options": {"seed": seed, "offset": offset, "shape": shape},
            "file": "random-bits.safetensors", "inputs": {}, "outputs": {"bits": label}, "gradients": {}, "anchors": [],
            "notes": "place (a, b, c, d) = offset + coordinates, each modulo 2^32: word d mod 4 of Philox4x32-10 at the counter (a, b, c, d / 4), key = low "
                     "and high word of the seed; the i32 bit pattern"})
    return {"random-bits.safetensors": arrays}, entries


def bucket_cases():
    far = np.arange(301, 4200, 13)
    positions = np.concatenate([-far[::-1], np.arange(-300, 301), far]).astype(np.int32)
    arrays, entries = {"positions": positions}, []
    for buckets, distance in BUCKETS:
        for two_way in (True, False):
            label = f"{'two-way' if two_way else 'one-way'}-{buckets}-{distance}"
            arrays[label] = formulas.relative_buckets(arrays["positions"], buckets, two_way, distance).astype(np.int32)
            entries.append({
                "name": f"relative-position-bucket-{label}", "op": "relativePositionBucket",
                "options": {"buckets": buckets, "bidirectional": two_way, "maxDistance": distance},
                "file": "relative-position-bucket.safetensors", "inputs": {"positions": "positions"},
                "outputs": {"buckets": label}, "gradients": {}, "anchors": [],
                "notes": "T5's bucket of a relative position, key minus query"})
    return {"relative-position-bucket.safetensors": arrays}, entries


def generate():
    check_known_answers()
    check_buckets()
    files, entries, names = {}, [], set()
    for case in ATTENTION + FEED_FORWARD:
        assert case.name not in names, case.name
        names.add(case.name)
        arrays, entry = build(case)
        before = files.setdefault(entry["file"], arrays)
        assert before.keys() == arrays.keys() and all(close(before[n], arrays[n]) for n in arrays), entry["file"]
        entries.append(entry)
    for extra_files, extra_entries in (random_bits_cases(), bucket_cases()):
        files.update(extra_files)
        entries += extra_entries
    return files, {"version": VERSION, "generator": "tooling/goldens/generate.py", "torch": torch.__version__,
                   "numpy": np.__version__, "margin": MARGIN, "cases": entries}


def write(files, manifest):
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.safetensors"):
        old.unlink()
    for name, arrays in files.items():
        (OUT / name).write_bytes(save(arrays))
    (OUT / "manifest.json").write_text(pretty(manifest) + "\n")
    size = sum(f.stat().st_size for f in OUT.iterdir())
    print(f"{len(manifest['cases'])} cases, {len(files)} files, {size:,} bytes in {OUT}")


def check(files, manifest):
    faults = []
    stored = json.loads((OUT / "manifest.json").read_text())
    want = json.loads(json.dumps(manifest))
    for entry in stored["cases"] + want["cases"]:
        entry.pop("selectionGap", None)
    if stored["version"] != want["version"]:
        faults.append("manifest: another version")
    if stored["cases"] != want["cases"]:
        old, new = ({c["name"]: c for c in m["cases"]} for m in (stored, want))
        faults += [f"manifest: {n} differs" for n in sorted(old.keys() | new.keys()) if old.get(n) != new.get(n)]
        faults = faults or ["manifest: the order of cases differs"]
    present = {f.name for f in OUT.glob("*.safetensors")}
    faults += [f"{n}: present on one side only" for n in sorted(present ^ files.keys())]
    for name in sorted(present & files.keys()):
        faults += compare_tensors(name, load_file(OUT / name), files[name])
    print("\n".join(faults) or f"{len(manifest['cases'])} cases, {len(files)} files agree within {TOLERANCE}")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files present instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = generate()
    sys.exit(check(*result) if arguments.check else write(*result))
