import type { AttentionRequest } from '@topk-attention/core/backend';
import { describe, expect, test } from 'vitest';
import { forwardScratchBytes } from '../../../src/attention/forward/plan.js';
import { createTfjsBackend, engineOf } from '../../../src/index.js';
import { bufferMeter } from '../../support/buffer-meter.js';
import { cpuTf } from '../../support/engines.js';

const tf = await cpuTf();
const backend = await createTfjsBackend({ tf });
const { fused } = backend;

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, extent) => size * extent, 1);

const base: AttentionRequest = {
  batch: 1,
  queryHeads: 4,
  keyHeads: 4,
  queryLength: 192,
  keyLength: 1024,
  headDim: 16,
  valueDim: 16,
  dtype: 'f32',
  k: 32,
  scale: 0.25,
  causal: false,
  keyLengths: false,
  saves: false,
};
const relativeBias = { bidirectional: true, maxDistance: 64, buckets: 16 };
const requests: { readonly [name: string]: Partial<AttentionRequest> } = {
  'top-k': {},
  'top-k, lists': { saves: true },
  'more kept keys': { k: 96 },
  'a scale that is no power of two': { scale: 0.3 },
  'grouped heads, two entries': { batch: 2, keyHeads: 2 },
  causal: { causal: true, queryLength: 1024 },
  mask: { mask: [1, 4, 192, 1024] },
  'mask of keys': { mask: [1, 1, 1, 1024] },
  bias: { bias: [1, 4, 192, 1024] },
  'relative bias': { relativeBias },
  exact: { k: 'all' },
  'exact, causal': { k: 'all', causal: true, queryLength: 1024 },
  'exact, relative bias': { k: 'all', relativeBias },
};

const meter = bufferMeter(tf);

describe('planned bytes lie within 1.0 and 1.5 times the peak of what tf holds', () => {
  for (const [name, options] of Object.entries(requests)) {
    for (const chunk of [16, 64, 192]) {
      test(`${name}, chunk ${chunk}`, async () => {
        const request = { ...base, ...options };
        const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
        const upload = (shape: readonly number[], dtype: 'f32' | 'bool' = 'f32') =>
          backend.upload(
            Float32Array.from({ length: sizeOf(shape) }, (_, at) =>
              dtype === 'bool' ? 1 : ((at * 7919) % 1013) / 1013 - 0.5,
            ),
            shape,
            dtype,
          );
        const inputs = {
          q: upload([batch, queryHeads, queryLength, headDim]),
          k: upload([batch, keyHeads, keyLength, headDim]),
          v: upload([batch, keyHeads, keyLength, valueDim]),
          ...(request.mask && { mask: upload(request.mask, 'bool') }),
          ...(request.bias && { bias: upload(request.bias) }),
          ...(request.relativeBias && { relativeTable: upload([16, queryHeads]) }),
        };
        meter.restart();
        const prepared = fused?.attention?.prepare(request, backend.capabilities.limits);
        if (prepared === undefined || 'refusals' in prepared) throw new Error('no fused attention');
        const made = prepared.run(inputs, chunk);
        const measured = meter.peak();
        for (const one of Object.values(made)) if (one) backend.release(one);
        const planned = forwardScratchBytes(engineOf(tf), request, chunk);
        for (const one of Object.values(inputs)) if (one) backend.release(one);
        expect(planned / measured).toBeGreaterThanOrEqual(1);
        expect(planned / measured).toBeLessThanOrEqual(1.5);
      });
    }
  }
});
