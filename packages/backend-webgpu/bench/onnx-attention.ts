// What ONNX Runtime's own attention takes on WebGPU: the fused com.microsoft.MultiHeadAttention.
import { numberToHalf } from '@topk-attention/core/reference';
import { attentionModel } from './onnx-model.js';
import { exactRow, RelativeError } from './oracle.js';
import { importByName, type Ort } from './ort.js';

export interface OnnxAttentionRow {
  readonly tokens: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  /** A layer, host time included: copies cancel out between a model of five and a model of one. */
  readonly ms: number;
  readonly error: number;
}

const NODES = [1, 5] as const;

export async function onnxAttention(shape: {
  readonly heads: number;
  readonly dim: number;
  readonly tokens: readonly number[];
  /** Default: both. */
  readonly causal?: readonly boolean[];
  readonly rounds: number;
  readonly log: (row: OnnxAttentionRow) => void;
}): Promise<readonly OnnxAttentionRow[]> {
  const { heads, dim, tokens, rounds, log } = shape;
  const loaded = (await importByName('onnxruntime-node', 'backend-onnxruntime')) as { default?: Ort } & Ort;
  const ort = loaded.default ?? loaded;
  const rows: OnnxAttentionRow[] = [];
  for (const length of tokens) {
    const inputs = inputsOf(length * heads * dim);
    for (const causal of shape.causal ?? [true, false]) {
      for (const dtype of ['f32', 'f16'] as const) {
        const times: number[] = [];
        let error = 0;
        for (const nodes of NODES) {
          const session = await ort.InferenceSession.create(
            attentionModel({ nodes, heads, length, dim, dtype, causal }),
            { executionProviders: ['webgpu'], logSeverityLevel: 3 },
          );
          const feeds = Object.fromEntries(
            Object.entries(inputs).map(([name, data]) => [
              name,
              new ort.Tensor(
                dtype === 'f32' ? 'float32' : 'float16',
                dtype === 'f32' ? data : Uint16Array.from(data, numberToHalf),
                [1, length, heads * dim],
              ),
            ]),
          );
          let best = Number.POSITIVE_INFINITY;
          for (let round = -1; round < rounds; round++) {
            const from = performance.now();
            const { out } = await session.run(feeds);
            if (round < 0 && nodes === 1 && dtype === 'f32') {
              error = errorOf(inputs, (out as { data: Float32Array }).data, { heads, dim, length, causal });
            }
            if (round >= 0) best = Math.min(best, performance.now() - from);
          }
          times.push(best);
          await session.release();
        }
        const [one, five] = times as [number, number];
        const row = { tokens: length, dtype, causal, ms: (five - one) / (NODES[1] - NODES[0]), error };
        rows.push(row);
        log(row);
      }
    }
  }
  return rows;
}

interface Inputs {
  readonly query: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
}

/** Sums of three uniform numbers. */
function inputsOf(size: number): Inputs & Record<string, Float32Array> {
  let state = 1;
  const numbers = (): Float32Array => {
    const data = new Float32Array(size);
    for (let at = 0; at < size; at++) {
      let sum = 0;
      for (let part = 0; part < 3; part++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        sum += state / 2 ** 31 - 1;
      }
      data[at] = sum;
    }
    return data;
  };
  return { query: numbers(), key: numbers(), value: numbers() };
}

/** Against f64: the last token of the first head, and one from the middle of the last. */
function errorOf(
  { query, key, value }: Inputs,
  out: Float32Array,
  { heads, dim, length, causal }: { heads: number; dim: number; length: number; causal: boolean },
): number {
  const error = new RelativeError();
  for (const [head, row] of [
    [0, length - 1],
    [heads - 1, length >> 1],
  ] as const) {
    const ofHead = (x: Float32Array): Float32Array =>
      Float32Array.from(
        { length: length * dim },
        (_, at) => x[Math.floor(at / dim) * heads * dim + head * dim + (at % dim)] as number,
      );
    const own = { k: ofHead(key), v: ofHead(value), keys: length, dim, valueDim: dim };
    const at = row * heads * dim + head * dim;
    const visible = causal ? row + 1 : length;
    error.add(
      out.subarray(at, at + dim),
      exactRow(own, query.subarray(at, at + dim), visible, undefined).output,
    );
  }
  return error.value;
}
