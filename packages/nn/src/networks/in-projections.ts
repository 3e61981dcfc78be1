import type { StateDict } from '../declared/state-dict.js';
import type { TensorToWrite } from '../safetensors/write.js';

/**
 * Renames a state dict of PyTorch's MultiheadAttention, or of layers that contain one, to the names of
 * `attentionLayer`: splits every `in_proj_weight` and `in_proj_bias` into `q_proj.*`, `k_proj.*` and `v_proj.*`;
 * `q_proj_weight`, used when widths differ, becomes `q_proj.weight`. Everything else stays as it is.
 *
 * @example
 * const weight = { dtype: 'F32', shape: [6, 2], data: new Float32Array(12) };
 * const dict = splitInProjections({ 'self_attn.in_proj_weight': weight });
 */
export function splitInProjections(dict: StateDict): StateDict {
  const split = Object.entries(dict).flatMap(([name, stored]): [string, TensorToWrite][] => {
    const [, role] = /(?<=^|\.)([qkv]_proj)_weight$/.exec(name) ?? [];
    if (role !== undefined) return [[name.replace(/_weight$/, '.weight'), stored]];
    const [, outer, kind] = /^(|.*\.)in_proj_(weight|bias)$/.exec(name) ?? [];
    if (outer === undefined || kind === undefined) return [[name, stored]];
    const { dtype, shape, data } = stored;
    const [rows = 0, ...others] = shape;
    const size = data.length / 3;
    return ['q', 'k', 'v'].map((letter, at) => [
      `${outer}${letter}_proj.${kind}`,
      { dtype, shape: [rows / 3, ...others], data: data.slice(at * size, (at + 1) * size) },
    ]);
  });
  return Object.fromEntries(split);
}
