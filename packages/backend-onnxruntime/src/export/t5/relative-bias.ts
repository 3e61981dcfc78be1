import { relativeBuckets } from '@topk-attention/core/backend';
import type { GraphBuilder } from '../../onnx/graph-builder.js';
import { HIDDEN, type Stack } from './stack.js';
import { halvesOf } from './weights.js';

/**
 * The bias of a stack by distance, clipped to where the buckets end: a table [H, distances] in the file. Keys that a
 * decoder's query may not see have a distance of their own.
 */
export class RelativeBias {
  readonly #table: string;
  readonly #least: number;
  readonly #most: number;

  constructor(stack: Stack) {
    const { onnx, name, config, type, biases } = stack;
    const { heads, buckets, maxDistance } = config;
    const bidirectional = name === 'encoder';
    // Key minus query, ascending; in a decoder 1 stands for all keys to come.
    this.#least = -maxDistance;
    this.#most = bidirectional ? maxDistance : 1;
    const count = this.#most - this.#least + 1;
    const ofDistance = relativeBuckets({ bidirectional, maxDistance, buckets }, this.#least, count);
    const table = new Float32Array(heads * count);
    for (const [at, bucket] of ofDistance.entries()) {
      for (let head = 0; head < heads; head++) {
        const isHidden = !bidirectional && at === count - 1;
        table[head * count + at] = isHidden ? HIDDEN[type] : (biases[bucket * heads + head] as number);
      }
    }
    const ownName = `${name}.bias_by_distance`;
    const values = type === 'f32' ? table : halvesOf(ownName, table);
    this.#table = onnx.weight(ownName, type, [heads, count], values);
  }

  /** [1, H, queries, keys] for positions i64 [queries] and i64 [keys]; the graph may be an inner one. */
  emit(onnx: GraphBuilder, queries: string, keys: string): string {
    const distances = onnx.op('Sub', [keys, onnx.op('Unsqueeze', [queries, onnx.i64([1])])]);
    const clipped = onnx.op('Max', [
      onnx.op('Min', [distances, onnx.i64(this.#most)]),
      onnx.i64(this.#least),
    ]);
    const rows = onnx.op('Sub', [clipped, onnx.i64(this.#least)]);
    return onnx.op('Unsqueeze', [onnx.op('Gather', [this.#table, rows], { axis: 1 }), onnx.i64([0])]);
  }
}
