"""Muon for the stacked matrices, Adam for the rest, both with decoupled decay; written to be captured in a CUDA graph.

Muon (Jordan et al. 2024): momentum, then five Newton-Schulz steps that bring every singular value of the update near 1.
"""
from __future__ import annotations

import torch

MATRICES = ("encoder_attention", "decoder_attention", "encoder_wi", "encoder_wo", "decoder_wi", "decoder_wo")


def orthogonalise(g: torch.Tensor) -> torch.Tensor:
    """[N, a, b] -> the nearest semi-orthogonal matrices, roughly."""
    x = g.bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    x = x.mT if flip else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if flip else x).to(g.dtype)


class Optimizer:
    """rate: a device scalar in [0, 1] that scales every learning rate, so that a captured graph follows the schedule."""

    def __init__(self, p: dict[str, torch.Tensor], head_width: int, matrix_rate: float, other_rate: float, decay: float) -> None:
        self.p, self.matrix_rate, self.other_rate, self.decay = p, matrix_rate, other_rate, decay
        device = p["shared"].device
        self.rate, self.steps = torch.zeros((), device=device), torch.zeros((), device=device)
        self.first = {k: torch.zeros_like(v, requires_grad=False) for k, v in p.items()}
        self.second = {k: torch.zeros_like(v, requires_grad=False) for k, v in p.items() if k not in MATRICES}
        self.average = {k: v.detach().clone() for k, v in p.items()}
        # T5 has no 1/sqrt(d_kv) in its attention: the query weights are that much smaller, and so are their steps.
        self.factor = {}
        for name in ("encoder_attention", "decoder_attention"):
            f = torch.ones(1, p[name].shape[1], 1, 1, device=device)
            f[:, 0::4] = head_width ** -0.5
            self.factor[name] = f

    @torch.no_grad()
    def step(self, average_decay: torch.Tensor) -> None:
        self.steps += 1
        grads = [v.grad for v in self.p.values()]
        norm = torch.stack([g.float().norm() for g in grads]).norm()
        clip = (1.0 / (norm + 1e-6)).clamp(max=1.0)
        for name, w in self.p.items():
            g = w.grad * clip
            m = self.first[name]
            if name in MATRICES:
                m.lerp_(g, 0.05)
                update = orthogonalise(g.lerp(m, 0.95).flatten(0, -3)).view_as(w)
                update = update * max(1.0, w.shape[-2] / w.shape[-1]) ** 0.5 * self.factor.get(name, 1.0)
                w.mul_(1 - self.rate * self.matrix_rate * self.decay)
                w.sub_(update * (self.rate * self.matrix_rate))
            else:
                s = self.second[name]
                m.lerp_(g, 0.1)
                s.lerp_(g * g, 0.02)
                scale = torch.sqrt(1 - 0.98 ** self.steps) / (1 - 0.9 ** self.steps)
                w.sub_(m / (s.sqrt() + 1e-10) * scale * (self.rate * self.other_rate))
            self.average[name].lerp_(w, 1 - average_decay)
            w.grad.zero_()
        self.norm = norm
