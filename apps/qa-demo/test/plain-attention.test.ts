import { loadTf } from '@topk-attention/app-kit/backends';
import { type Backend, exactAttention, scope, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { expect, test } from 'vitest';
import { PlainAttention } from '../src/engine/plain-attention.js';
import { steeredBackend } from '../src/engine/steered-backend.js';

const HEADS = 3;
const WIDTH = 4;
const BUCKETS = 8;

const engines: readonly [string, () => Promise<Backend>][] = [
  ['reference', async () => createReferenceBackend()],
  ['onnxruntime', async () => createOnnxRuntimeBackend({ threads: 1 })],
  [
    'tfjs',
    async () => {
      const { tf, name } = await loadTf('cpu', 1);
      return createTfjsBackend({ tf, engine: name });
    },
  ],
];

test.each(engines)(
  '%s: plain attention gives the numbers of exact attention, with biases and with padding',
  async (_name, create) => {
    const inner = await create();
    const { backend, steering } = steeredBackend(inner);
    const plain = new PlainAttention(inner);
    const numbers = (shape: readonly number[], seed: number): Tensor => {
      const size = shape.reduce((a, b) => a * b, 1);
      return tensor(
        backend,
        Float32Array.from({ length: size }, (_, at) => 2 * Math.sin(seed + at * at)),
        [...shape],
      );
    };
    const table = numbers([BUCKETS, HEADS], 1);
    const attend = async (length: number, keys: number | undefined): Promise<number[]> => {
      const [q, k, v] = [2, 3, 4].map((seed) => numbers([1, HEADS, length, WIDTH], seed)) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const output = scope(() =>
        exactAttention(q, k, v, {
          scale: 1,
          relativeBias: { table, bidirectional: true, maxDistance: 16 },
          ...(keys !== undefined && { keyLengths: tensor(backend, Int32Array.of(keys), [1], 'i32') }),
        }),
      );
      const values = Array.from(await output.data(), Number);
      for (const one of [q, k, v, output]) one.dispose();
      return values;
    };
    const cases = [
      [40, undefined],
      [40, 33],
      [24, 24],
    ] as const;
    const expected: number[][] = [];
    for (const [length, keys] of cases) expected.push(await attend(length, keys));

    steering.plain = plain;
    await attend(1, undefined);
    await plain.readTable();
    for (const [at, [length, keys]] of cases.entries()) {
      const values = await attend(length, keys);
      const error = Math.max(
        ...values.map((value, i) => Math.abs(value - (expected[at]?.[i] ?? Number.NaN))),
      );
      expect(error).toBeLessThan(1e-5);
    }
    plain.dispose();
    table.dispose();
    expect(inner.memory().live).toBe(0);
    await inner.dispose();
  },
);
