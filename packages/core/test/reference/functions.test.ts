import { expect, test } from 'vitest';
import { type AttentionRequest, relativePositionBucket } from '../../src/index.js';
import { activationFunctions } from '../../src/reference/activations.js';
import { relativeBucket } from '../../src/reference/attention-scores.js';
import { erf } from '../../src/reference/erf.js';

// Values of the C library's erf.
test.each([
  [0, 0],
  [0.5, 0.5204998778130465],
  [1, 0.8427007929497149],
  [2, 0.9953222650189527],
  [2.9999, 0.9999778955735178],
  [3, 0.9999779095030014],
  [4, 0.9999999845827421],
  [7, 1],
  [1e-300, 1.1283791670955126e-300],
])('erf(%d)', (x, expected) => {
  expect(Math.abs(erf(x) - expected)).toBeLessThanOrEqual(4e-16 * Math.abs(expected));
  expect(erf(-x)).toBeCloseTo(-expected, 15);
});

test('erf of NaN and of infinities', () => {
  expect(erf(Number.NaN)).toBeNaN();
  expect(erf(Number.POSITIVE_INFINITY)).toBe(1);
  expect(erf(Number.NEGATIVE_INFINITY)).toBe(-1);
});

test.each(Object.entries(activationFunctions))('the derivative of %s is a difference quotient', (_, f) => {
  for (const x of [-5, -1.3, -0.2, 0.4, 1, 3.7]) {
    const step = 1e-5;
    expect(f.derivative(x)).toBeCloseTo((f.value(x + step) - f.value(x - step)) / (2 * step), 8);
  }
});

// Values of the published function, whose logarithms are f32, as numpy and torch give them; f64 gives the last number.
test.each([
  [3, 9, 3, 2, 1],
  [9, 128, 8, 5, 4],
  [9, 128, 16, 6, 5],
  [9, 128, 64, 8, 7],
  [17, 27, 12, 10, 11],
  [19, 16, 12, 14, 13],
  [36, 32, 24, 27, 26],
  [48, 81, 36, 31, 32],
  [51, 81, 45, 37, 38],
  [54, 125, 75, 45, 44],
  [32, 128, 91, 29, 29],
  [32, 128, 112, 30, 30],
])('%i buckets, maxDistance %i: distance %i is in bucket %i', (buckets, maxDistance, distance, expected) => {
  const oneSided = { buckets, bidirectional: false, maxDistance };
  const twoSided = { buckets: 2 * buckets, bidirectional: true, maxDistance };
  for (const [relativeBias, offset] of [
    [oneSided, 0],
    [twoSided, 0],
    [twoSided, buckets],
  ] as const) {
    const position = offset === 0 ? -distance : distance;
    const found = relativeBucket(
      { ...requestFor(128), relativeBias },
      Math.max(-position, 0),
      Math.max(position, 0),
    );
    expect(found).toBe(expected + offset);
    expect(relativePositionBucket(position, relativeBias)).toBe(expected + offset);
  }
});

function requestFor(length: number): AttentionRequest {
  return {
    batch: 1,
    queryHeads: 1,
    keyHeads: 1,
    queryLength: length,
    keyLength: length,
    headDim: 1,
    valueDim: 1,
    dtype: 'f32',
    k: 'all',
    scale: 1,
    causal: false,
    keyLengths: false,
    saves: false,
  };
}

/** T5's function as transformers computes it: logarithms in f32. */
function bucketInSinglePrecision(distance: number, count: number, maxDistance: number): number {
  const near = Math.floor(count / 2);
  if (distance < near) return distance;
  const log = Math.fround(Math.log(Math.fround(distance / near)));
  const scaled = Math.fround(Math.fround(log / Math.log(maxDistance / near)) * (count - near));
  return Math.min(near + Math.trunc(scaled), count - 1);
}

test.each([
  { buckets: 32, bidirectional: true, maxDistance: 128 },
  { buckets: 32, bidirectional: false, maxDistance: 128 },
  { buckets: 8, bidirectional: true, maxDistance: 20 },
])('relative buckets equal those of transformers: %o', (relativeBias) => {
  const queryLength = 600;
  const request = { ...requestFor(queryLength), relativeBias };
  const { buckets, bidirectional, maxDistance } = relativeBias;
  const count = bidirectional ? buckets / 2 : buckets;
  for (let distance = 0; distance < queryLength; distance++) {
    const past = bucketInSinglePrecision(distance, count, maxDistance);
    expect(relativeBucket(request, distance, 0), `distance ${distance}`).toBe(past);
    const future = distance === 0 ? 0 : bidirectional ? past + count : 0;
    expect(relativeBucket(request, 0, distance), `distance -${distance}`).toBe(future);
  }
});
