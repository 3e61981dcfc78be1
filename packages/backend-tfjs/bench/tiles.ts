import type { Tf, TfTensor } from './engines.js';
import type { Outputs } from './method.js';
import type { Inputs, Tile } from './setup.js';

/** One tile: [heads, queries, D] of q and dO, [heads, L, D] of k and v. */
export interface TileInputs {
  readonly q: TfTensor;
  readonly k: TfTensor;
  readonly v: TfTensor;
  readonly dOutput: TfTensor;
  readonly indices?: TfTensor;
  readonly scores?: TfTensor;
}

/**
 * Runs tiles of queries, all tiles of some heads before the next heads, and joins what they return: outputs and dQ
 * along the queries, dK and dV as sums. Every method that is written in tf ops goes through it.
 */
export function overTiles(tf: Tf, inputs: Inputs, tile: Tile, body: (one: TileInputs) => Outputs): Outputs {
  const { heads, queries, length } = inputs.setup;
  return tf.tidy(() => {
    const ofHeads: Outputs[] = [];
    for (let head = 0; head < heads; head += tile.heads) {
      const count = Math.min(tile.heads, heads - head);
      const cut = (x: TfTensor, start: number, size: number): TfTensor =>
        tf.reshape(tf.slice(x, [0, head, start, 0], [1, count, size, x.shape[3] as number]), [
          count,
          size,
          x.shape[3] as number,
        ]);
      const k = cut(inputs.k, 0, length);
      const v = cut(inputs.v, 0, length);
      const joined: TfTensor[] = [];
      let sums: { k: TfTensor; v: TfTensor } | undefined;
      let isForward = true;
      for (let start = 0; start < queries; start += tile.queries) {
        const size = Math.min(tile.queries, queries - start);
        const made = tf.tidy(() => {
          const { indices, scores } = inputs;
          return {
            ...body({
              k,
              v,
              q: cut(inputs.q, start, size),
              dOutput: cut(inputs.dOutput, start, size),
              ...(indices && { indices: cut(indices, start, size) }),
              ...(scores && { scores: cut(scores, start, size) }),
            }),
          };
        });
        isForward = made.output !== undefined;
        joined.push((made.output ?? made.q) as TfTensor);
        if (made.k === undefined || made.v === undefined) continue;
        if (sums === undefined) {
          sums = { k: made.k, v: made.v };
          continue;
        }
        const next = { k: tf.add(sums.k, made.k), v: tf.add(sums.v, made.v) };
        tf.dispose([sums.k, sums.v, made.k, made.v]);
        sums = next;
      }
      const rows = joined.length === 1 ? (joined[0] as TfTensor) : tf.concat(joined, 1);
      if (joined.length > 1) tf.dispose(joined);
      tf.dispose([k, v]);
      ofHeads.push({ ...(isForward ? { output: rows } : { q: rows }), ...sums });
    }
    return { ...joinHeads(tf, ofHeads) };
  });
}

function joinHeads(tf: Tf, parts: readonly Outputs[]): Outputs {
  const whole: Record<string, TfTensor> = {};
  for (const role of ['output', 'q', 'k', 'v'] as const) {
    const own = parts.map((part) => part[role]).filter((one) => one !== undefined);
    const [first] = own;
    if (first === undefined) continue;
    whole[role] = tf.expandDims(own.length === 1 ? first : tf.concat(own, 0), 0);
    tf.dispose(own);
  }
  return whole;
}
