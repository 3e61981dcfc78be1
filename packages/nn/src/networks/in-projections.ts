import type { StateDict } from '../declared/state-dict.js';
import { decodeStored } from '../safetensors/stored-dtype.js';
import type { TensorToWrite } from '../safetensors/write.js';

/**
 * Renames a state dict of PyTorch's MultiheadAttention, or of layers that contain one, to the names of
 * `attentionLayer`: splits every `in_proj_weight` and `in_proj_bias` into `q_proj.*`, `k_proj.*` and `v_proj.*`;
 * `q_proj_weight`, used when widths differ, becomes `q_proj.weight`. Everything else stays as it is.
 *
 * @example
 * const weight = { dtype: 'F32', shape: [6, 2], data: new Float32Array(12) };
 * const dict = splitInProjections({ 'self_attn.in_proj_weight': weight });
 *
 * @see `joinInProjections` for the way back, `readStateDict` for the state dict of an open file
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

/**
 * The way back of `splitInProjections`, for files that PyTorch's MultiheadAttention or TransformerEncoder loads: packs
 * `q_proj.*`, `k_proj.*` and `v_proj.*` into `in_proj_weight` and `in_proj_bias`. Where the widths of sources differ,
 * `q_proj.weight` becomes `q_proj_weight`, likewise k and v. Projections with fewer key heads, which those modules do
 * not have, and everything else stay as they are.
 *
 * @example
 * const layer = encoderLayer({ width: 8, heads: 2, hidden: 16 });
 * const saved = await stateDict(initialize(backend, layer, 42));
 * const bytes = encodeSafetensors(joinInProjections(saved));
 */
export function joinInProjections(dict: StateDict): StateDict {
  const joined = Object.entries(dict).flatMap(([name, stored]): [string, TensorToWrite][] => {
    const [, outer, letter, kind] = /^(|.*\.)([qkv])_proj\.(weight|bias)$/.exec(name) ?? [];
    const three = ['q', 'k', 'v'].map((one) => dict[`${outer}${one}_proj.${kind}`]);
    if (letter === undefined || !three.every((one) => one !== undefined)) return [[name, stored]];
    if (!three.every(({ dtype, shape }) => dtype === stored.dtype && shape[0] === stored.shape[0])) {
      return [[name, stored]];
    }
    if (!three.every(({ shape }) => shape[1] === stored.shape[1])) {
      return [[`${outer}${letter}_proj_${kind}`, stored]];
    }
    return letter === 'q' ? [[`${outer}in_proj_${kind}`, stacked(three)]] : [];
  });
  return Object.fromEntries(joined);
}

/** One tensor of the rows of all, which have the same dtype and width. */
function stacked(parts: readonly TensorToWrite[]): TensorToWrite {
  const [{ dtype, shape }] = parts as [TensorToWrite];
  const sizes = parts.map(({ data }) => data.byteLength);
  const bytes = new Uint8Array(sizes.reduce((sum, one) => sum + one, 0));
  for (const [at, { data }] of parts.entries()) {
    const begin = sizes.slice(0, at).reduce((sum, one) => sum + one, 0);
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), begin);
  }
  const [rows = 0, ...others] = shape;
  return {
    dtype,
    shape: [rows * parts.length, ...others],
    data: decodeStored('joinInProjections', dtype, bytes),
  };
}
