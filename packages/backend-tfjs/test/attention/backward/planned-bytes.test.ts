import type { AttentionRequest } from '@topk-attention/core/backend';
import { describe, expect, it } from 'vitest';
import { backwardScratchBytes } from '../../../src/attention/backward/plan.js';
import { createTfjsBackend } from '../../../src/index.js';
import { bufferMeter } from '../../support/buffer-meter.js';
import { cpuTf } from '../../support/engines.js';

const tf = await cpuTf();
const backend = await createTfjsBackend({ tf });

const base: AttentionRequest = {
  batch: 1,
  queryHeads: 4,
  keyHeads: 4,
  queryLength: 128,
  keyLength: 256,
  headDim: 16,
  valueDim: 16,
  dtype: 'f32',
  k: 32,
  scale: 0.25,
  causal: false,
  keyLengths: false,
  saves: true,
};
const requests: Readonly<Record<string, Partial<AttentionRequest>>> = {
  plain: {},
  'few kept keys': { k: 4 },
  'many keys': { keyLength: 2048 },
  'wide values': { valueDim: 32 },
  'grouped heads, two entries': { batch: 2, keyHeads: 2 },
  dropout: { dropout: { rate: 0.1, seed: 1 } },
  bias: { bias: [1, 4, 128, 256] },
  'relative bias': { relativeBias: { bidirectional: true, maxDistance: 64, buckets: 16 } },
};

const meter = bufferMeter(tf);
const count = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

describe('planned bytes of the backward pass, with the gradients, are 1.0 to 1.5 times those of its buffers', () => {
  for (const [name, options] of Object.entries(requests)) {
    // Tiles of several heads, of one, and of a few queries.
    for (const chunk of [128, 32, 8]) {
      it(`${name}, chunk ${chunk}`, () => {
        const request = { ...base, ...options };
        const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
        const k = Number(request.k);
        const upload = (shape: readonly number[]) =>
          backend.upload(
            Float32Array.from({ length: count(shape) }, (_, at) => ((at * 7919) % 1013) / 1013 - 0.5),
            shape,
            'f32',
          );
        const lists = [batch, queryHeads, queryLength, k];
        const indices = Int32Array.from({ length: count(lists) }, (_, slot) => (slot % k) * 7);
        const inputs = {
          q: upload([batch, queryHeads, queryLength, headDim]),
          k: upload([batch, keyHeads, keyLength, headDim]),
          v: upload([batch, keyHeads, keyLength, valueDim]),
          dOutput: upload([batch, queryHeads, queryLength, valueDim]),
          indices: backend.upload(indices, lists, 'i32'),
          scores: upload(lists),
          ...(request.bias && { bias: upload(request.bias) }),
          ...(request.relativeBias && { relativeTable: upload([16, queryHeads]) }),
        };
        meter.restart();
        const prepared = backend.fused?.attentionBackward?.prepare(request, backend.capabilities.limits);
        if (prepared === undefined || 'refusals' in prepared) throw new Error('no fused backward pass');
        const made = prepared.run(inputs, chunk);
        const measured = meter.peak();
        const gradients = Object.values(made).filter((one) => one !== undefined);
        expect(gradients.length).toBeGreaterThanOrEqual(3);
        const planned =
          backwardScratchBytes(request, chunk) +
          gradients.reduce((bytes, one) => bytes + 4 * count(one.shape), 0);
        for (const one of [...gradients, ...Object.values(inputs)]) backend.release(one);
        expect(planned / measured).toBeGreaterThanOrEqual(1);
        expect(planned / measured).toBeLessThanOrEqual(1.5);
      });
    }
  }
});
