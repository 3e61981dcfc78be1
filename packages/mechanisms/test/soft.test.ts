import { add, concat, mul, narrow, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { attentionLayer, contextOf, initialize } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { type SoftOptions, soft } from '../src/index.js';
import { backend, expectGolden, expectNumbers, goldenCall } from './support/goldens.js';
import { describeLaws } from './support/laws.js';
import { randomNumbers, randomTensor } from './support/random.js';

// Enough steps for 11 digits.
const iterations = 40;

test('is the kernel by means of segments', () => expectGolden('soft', soft({ landmarks: 3, iterations })));

test('normalised', () =>
  expectGolden('soft, normalised', soft({ landmarks: 3, iterations, normalise: true })));

test('with a landmark per token it is the kernel itself', async () => {
  const call = goldenCall();
  const [x, v] = (await Promise.all([call.query.data(), call.value.data()])).map((one) => Array.from(one));
  const expected: number[] = [];
  for (let h = 0; h < 2; h++) {
    for (let i = 0; i < 7; i++) {
      for (let d = 0; d < 4; d++) {
        let total = 0;
        for (let j = 0; j < 7; j++) {
          let distance = 0;
          for (let c = 0; c < 4; c++) {
            const [a, b] = [x?.[(h * 7 + i) * 4 + c] as number, x?.[(h * 7 + j) * 4 + c] as number];
            distance += (a - b) ** 2 / 2;
          }
          total += Math.exp(-distance / 2) * (v?.[(h * 7 + j) * 4 + d] as number);
        }
        expected.push(total);
      }
    }
  }
  await expectNumbers(soft({ landmarks: 7, ridge: 0, iterations: 60 }).attend(call), expected, 9);
});

describe('a layer', () => {
  const layer = attentionLayer({ width: 8, heads: 2, mechanism: soft({ landmarks: 2 }) });
  const context = contextOf(initialize(backend, layer, 1));
  const x = randomTensor(backend, 1, 1, 6, 8);

  test('has no projection of keys', () => {
    expect(Object.keys(layer.parameters).filter((name) => name.endsWith('proj.weight'))).toEqual([
      'q_proj.weight',
      'v_proj.weight',
      'out_proj.weight',
    ]);
  });

  test('attends to itself alone', () => {
    const refused = expect.objectContaining({ code: 'UNSUPPORTED' });
    expect(() => layer.apply(context, x, { source: x.alias() })).toThrow(/Its queries are its keys/);
    expect(() => layer.keysAndValues(context, x)).toThrow(refused);
    expect(() =>
      attentionLayer({ width: 8, heads: 2, sourceWidth: 4, mechanism: soft({ landmarks: 2 }) }),
    ).toThrow(refused);
  });

  test('coinciding landmarks give numbers', async () => {
    const same = concat([narrow(x, 1, 0, 1), narrow(x, 1, 0, 1), narrow(x, 1, 0, 1)], 1);
    for (const ridge of [0, 0.01]) {
      const other = attentionLayer({ width: 8, heads: 2, mechanism: soft({ landmarks: 3, ridge }) });
      const output = await other.apply(context, same).data();
      expect(Array.from(output).every(Number.isFinite)).toBe(true);
    }
  });

  test('fewer tokens than landmarks in a padded text count for nothing', async () => {
    const keyLengths = tensor(backend, Int32Array.of(1), [1]);
    const output = await narrow(layer.apply(context, x, { keyLengths }), 1, 0, 1).data();
    expect(Array.from(output).every(Number.isFinite)).toBe(true);
  });
});

/** A direction, and tokens of a normal distribution: n 2000, d 32. */
function normalTokens(deviation: number): {
  readonly x: Tensor;
  readonly value: Tensor;
  readonly way: Tensor;
} {
  const next = randomNumbers(7);
  // Sums of 12 uniform numbers of [-1, 1) have a variance of 4.
  const normal = (): number => Array.from({ length: 12 }, next).reduce((all, one) => all + one, 0) / 2;
  const of = (factor: number): Tensor =>
    tensor(
      backend,
      Float64Array.from({ length: 64_000 }, () => factor * normal()),
      [1, 1, 2000, 32],
    );
  return { x: of(deviation), value: of(1), way: of(deviation) };
}

describe.each([0.3, 1])('32 landmarks of 2,000 normal tokens with a deviation of %d', (deviation) => {
  const { x, value, way } = normalTokens(deviation);
  const { context, path } = goldenCall();
  const attend = (query: Tensor, settings: SoftOptions): Tensor =>
    soft({ landmarks: 32, ...settings }).attend({ context, path, query, key: query, value, options: {} });

  test.each([false, true])('the default of iterations has converged, normalise: %s', async (normalise) => {
    const made = Array.from(await attend(x, { normalise }).data());
    const more = Array.from(await attend(x, { normalise, iterations: 80 }).data());
    const largest = more.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
    const away = made.reduce((most, one, at) => Math.max(most, Math.abs(one - (more[at] as number))), 0);
    expect(away / largest).toBeLessThan(1e-9);

    const loss = (of: Tensor): Tensor => sum(mul(attend(of, { normalise }), value));
    const { gradients } = valueAndGrad(loss)(x);
    const slope = Number((await sum(mul(gradients, way)).data())[0]);
    const at = async (step: number): Promise<number> =>
      Number((await loss(add(x, mul(way, step))).data())[0]);
    const found = ((await at(1e-5)) - (await at(-1e-5))) / 2e-5;
    expect(Math.abs(slope / found - 1)).toBeLessThan(1e-4);
  });
});

test.each([1e3, 1e6, 1e12])(
  'landmarks are near to themselves however large they are: times %d',
  async (factor) => {
    const own = createReferenceBackend();
    const x = mul(randomTensor(own, 3, 1, 2, 12, 4), factor);
    const value = randomTensor(own, 4, 1, 2, 12, 4);
    const { context, path } = goldenCall();
    // Far from each other, up to rounding of squares that are as large.
    const mechanism = soft({ landmarks: 4, normalise: true });
    const output = mechanism.attend({ context, path, query: x, key: x, value, options: {} });
    const numbers = Array.from(await output.data(), Math.abs);
    expect(Math.max(...numbers)).toBeLessThan(10);
  },
);

describe('wrong use', () => {
  test.each([{ landmarks: 0 }, { ratio: 0 }, { landmarks: 2, ratio: 2 }, { ridge: -1 }, { iterations: 0 }])(
    '%o',
    (options) => {
      expect(() => soft(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    },
  );
  test('fewer tokens than landmarks, a ratio that does not divide them', () => {
    const refused = expect.objectContaining({ code: 'SHAPE_MISMATCH' });
    expect(() => soft({ landmarks: 8 }).attend(goldenCall())).toThrow(refused);
    expect(() => soft({ ratio: 2 }).attend(goldenCall())).toThrow(refused);
  });
});

describeLaws('SOFT', soft({ landmarks: 3, iterations }));
describeLaws('SOFT, normalised', soft({ landmarks: 3, iterations, normalise: true }));
describeLaws('SOFT by a convolution', soft({ ratio: 3, iterations }), {
  trained: ['landmarks.weight', 'landmarks.norm.bias'],
  digits: 5,
});
