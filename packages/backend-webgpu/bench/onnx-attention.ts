// What ONNX Runtime's own attention takes on WebGPU: the fused com.microsoft.MultiHeadAttention.
import { halfToNumber, numberToHalf } from '@topk-attention/core/reference';
import { attentionModel } from './onnx-model.js';
import { exactRow, RelativeError } from './oracle.js';
import { importByName, type Ort } from './ort.js';

export interface OnnxAttentionRow {
  readonly tokens: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  /** A layer, host time included: copies cancel out between a model of many nodes and a model of one. */
  readonly ms: number;
  /** Relative, against f64. */
  readonly error: number;
  /** Why it was not measured, in the engine's words. */
  readonly failure?: string;
}

/** Nodes of the two models: short calls take many, or the difference drowns in what sessions differ by. */
const nodesOf = (length: number): readonly [number, number] => (length < 4096 ? [1, 33] : [1, 5]);
const HELD = { nodes: 1, heads: 1, length: 8, dim: 8, dtype: 'f32', causal: false } as const;

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
  const options = { executionProviders: ['webgpu'], logSeverityLevel: 3 };
  // With the last session the engine's device goes, and the next one waits for another.
  const held = await ort.InferenceSession.create(attentionModel(HELD), options);
  for (const length of tokens) {
    const counts = nodesOf(length);
    const inputs = inputsOf(length * heads * dim);
    for (const dtype of ['f32', 'f16'] as const) {
      const feeds = mapInputs(inputs, (data) => {
        const values = dtype === 'f32' ? data : Uint16Array.from(data, numberToHalf);
        return new ort.Tensor(dtype === 'f32' ? 'float32' : 'float16', values, [1, length, heads * dim]);
      });
      for (const causal of shape.causal ?? [true, false]) {
        const times: number[] = [];
        let error = 0;
        let failure: string | undefined;
        for (const nodes of counts) {
          try {
            const session = await ort.InferenceSession.create(
              attentionModel({ nodes, heads, length, dim, dtype, causal }),
              options,
            );
            let best = Number.POSITIVE_INFINITY;
            for (let round = -1; round < rounds; round++) {
              const from = performance.now();
              const { out } = await session.run(feeds);
              if (round >= 0) best = Math.min(best, performance.now() - from);
              else if (nodes === 1) {
                error = errorOf(inputs, (out as { data: OutputData }).data, { heads, dim, length, causal });
              }
            }
            times.push(best);
            await session.release();
          } catch (reason) {
            failure ??= reason instanceof Error ? reason.message : String(reason);
          }
        }
        const [one = Number.NaN, many = Number.NaN] = times;
        const ms = (many - one) / (counts[1] - counts[0]);
        const row = { tokens: length, dtype, causal, ms, error, ...(failure !== undefined && { failure }) };
        rows.push(row);
        log(row);
      }
    }
  }
  await held.release();
  return rows;
}

/** f16 comes as its bits. */
type OutputData = Float32Array | Uint16Array;

interface Inputs {
  readonly query: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
}

function mapInputs<T>({ query, key, value }: Inputs, f: (data: Float32Array) => T): Record<string, T> {
  return { query: f(query), key: f(key), value: f(value) };
}

/** Sums of three uniform numbers. */
function inputsOf(size: number): Inputs {
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
  out: OutputData,
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
      Float64Array.from(out.subarray(at, at + dim), (one) =>
        out instanceof Uint16Array ? halfToNumber(one) : one,
      ),
      exactRow(own, query.subarray(at, at + dim), visible, undefined).output,
    );
  }
  return error.value;
}
