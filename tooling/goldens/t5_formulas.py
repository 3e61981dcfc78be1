"""T5 in float64 from its equations, on the attention and feed-forward of formulas.py, so with top-k in any layer.

With everything kept it must agree with transformers (t5.py asserts it); with k it is the oracle for T5 with top-k.
"""

import torch

import formulas


class T5:
    """weights: name to float64 tensor, as in a checkpoint. config: as in config.json."""

    def __init__(self, weights, config, attention_k=None, feed_forward=None):
        self.w, self.c = weights, config
        self.attention_k, self.feed_forward_options = attention_k, feed_forward
        self.gap = formulas.INF

    def norm(self, name, x):
        return self.w[f"{name}.weight"] * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["layer_norm_epsilon"])

    def attend(self, name, x, source, stack, mask=None, causal=False, relative=True):
        heads = self.c["num_heads"]

        def split(letter, states):
            projected = states @ self.w[f"{name}.{letter}.weight"].T
            return projected.reshape(*states.shape[:2], heads, self.c["d_kv"]).transpose(1, 2)

        inputs = {"q": split("q", x), "k": split("k", source), "v": split("v", source)}
        options = {"scale": 1.0, "causal": causal}
        if mask is not None:
            inputs["mask"] = mask[:, None, None, :]
        if relative:
            # Every layer uses the table of its stack's first layer.
            inputs["relativeBiasTable"] = self.w[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
            options["relativeBias"] = {"bidirectional": stack == "encoder",
                                       "maxDistance": self.c["relative_attention_max_distance"]}
        if self.attention_k is None:
            out = formulas.attention_dense(inputs, options)
        else:
            out, _, gap = formulas.attention(inputs, {**options, "k": self.attention_k})
            self.gap = min(self.gap, gap)
        return out.transpose(1, 2).reshape(*x.shape[:2], -1) @ self.w[f"{name}.o.weight"].T

    def feed_forward(self, name, x):
        kind = self.c["feed_forward_proj"]
        inputs = {"x": x, "wOut": self.w[f"{name}.wo.weight"].T}
        activation = {"gated-gelu": "gelu_tanh"}.get(kind, kind.removeprefix("gated-"))
        if kind.startswith("gated-"):
            inputs["wIn"], inputs["wGate"] = self.w[f"{name}.wi_0.weight"].T, self.w[f"{name}.wi_1.weight"].T
        else:
            inputs["wIn"] = self.w[f"{name}.wi.weight"].T
        if self.feed_forward_options is None:
            return formulas.feed_forward_dense(inputs, {"activation": activation})
        out, _, gap = formulas.feed_forward(inputs, {**self.feed_forward_options, "activation": activation})
        self.gap = min(self.gap, gap)
        return out

    def encode(self, ids, mask):
        x = self.w["shared.weight"][ids]
        for i in range(self.c["num_layers"]):
            block = f"encoder.block.{i}.layer"
            y = self.norm(f"{block}.0.layer_norm", x)
            x = x + self.attend(f"{block}.0.SelfAttention", y, y, "encoder", mask)
            x = x + self.feed_forward(f"{block}.1.DenseReluDense", self.norm(f"{block}.1.layer_norm", x))
        return self.norm("encoder.final_layer_norm", x)

    def decode(self, ids, memory, mask):
        x = self.w["shared.weight"][ids]
        for i in range(self.c["num_decoder_layers"]):
            block = f"decoder.block.{i}.layer"
            y = self.norm(f"{block}.0.layer_norm", x)
            x = x + self.attend(f"{block}.0.SelfAttention", y, y, "decoder", causal=True)
            y = self.norm(f"{block}.1.layer_norm", x)
            x = x + self.attend(f"{block}.1.EncDecAttention", y, memory, "decoder", mask, relative=False)
            x = x + self.feed_forward(f"{block}.2.DenseReluDense", self.norm(f"{block}.2.layer_norm", x))
        x = self.norm("decoder.final_layer_norm", x)
        if self.c["tie_word_embeddings"]:
            return x * self.c["d_model"] ** -0.5 @ self.w["shared.weight"].T
        return x @ self.w["lm_head.weight"].T
