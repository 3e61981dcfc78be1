import { describe, expect, expectTypeOf, test } from 'vitest';
import * as ops from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const numbers = (size: number, seed: number): Float64Array =>
  Float64Array.from({ length: size }, (_, i) => Math.sin(1.7 * i + 12.9898 * seed) * 1.3 + 0.05);
const make = (shape: readonly number[], seed: number): ops.Tensor =>
  ops.tensor(backend, numbers(ops.sizeOf(shape), seed), shape);

/** Central differences of sum(f(x) * w) against the pullback, for every element of every input. */
async function checkGradient(f: (...xs: ops.Tensor[]) => ops.Tensor, shapes: readonly (readonly number[])[]) {
  const data = shapes.map((shape, at) => numbers(ops.sizeOf(shape), at + 1));
  const tensors = data.map((values, at) => ops.tensor(backend, values, shapes[at] as number[]));
  const pulled = ops.pullback((xs: readonly ops.Tensor[]) => f(...xs), tensors);
  const weights = make(pulled.output.shape, 99);
  const gradients = pulled.backward(weights);
  const objective = async (changed: number, values: Float64Array): Promise<number> => {
    const inputs = data.map((own, at) =>
      ops.tensor(backend, at === changed ? values : own, shapes[at] as number[]),
    );
    const total = ops.sum(ops.mul(f(...inputs), weights));
    return (await total.data())[0] as number;
  };
  for (const [at, own] of data.entries()) {
    const analytic = await (gradients[at] as ops.Tensor).data();
    for (let element = 0; element < own.length; element++) {
      const h = 1e-5;
      const shifted = (by: number): Float64Array => own.map((x, i) => (i === element ? x + by : x));
      const numeric = ((await objective(at, shifted(h))) - (await objective(at, shifted(-h)))) / (2 * h);
      expect(Math.abs(numeric - (analytic[element] as number))).toBeLessThan(1e-7 * (1 + Math.abs(numeric)));
    }
  }
}

const i32 = (values: number[], shape: number[]): ops.Tensor =>
  ops.tensor(backend, Int32Array.from(values), shape);

describe('gradients of primitives agree with central differences', () => {
  const cases: Record<string, [(...xs: ops.Tensor[]) => ops.Tensor, number[][]]> = {
    'add, broadcasting': [(a, b) => ops.add(a, b), [[2, 3], [3]]],
    'sub, broadcasting': [
      (a, b) => ops.sub(a, b),
      [
        [2, 1],
        [2, 3],
      ],
    ],
    'mul by itself': [(a) => ops.mul(a, a), [[4]]],
    div: [
      (a, b) => ops.div(a, b),
      [
        [2, 3],
        [1, 3],
      ],
    ],
    min: [(a, b) => ops.min(a, b), [[5], [5]]],
    max: [(a, b) => ops.max(a, b), [[5], [5]]],
    'neg and abs': [(a) => ops.neg(ops.abs(a)), [[5]]],
    exp: [(a) => ops.exp(a), [[4]]],
    'log and sqrt of a square': [(a) => ops.add(ops.log(ops.mul(a, a)), ops.sqrt(ops.mul(a, a))), [[4]]],
    rsqrt: [(a) => ops.rsqrt(ops.add(ops.mul(a, a), 1)), [[4]]],
    'tanh, erf, sigmoid': [(a) => ops.add(ops.tanh(a), ops.mul(ops.erf(a), ops.sigmoid(a))), [[4]]],
    where: [(a, b) => ops.where(ops.lt(a, b), a, ops.mul(b, 3)), [[2, 3], [3]]],
    'sum over axes': [(a) => ops.sum(a, { axes: [0, 2] }), [[2, 3, 2]]],
    'max over an axis': [(a) => ops.maxOver(a, { axes: [1] }), [[3, 4]]],
    mean: [(a) => ops.mean(a, { axes: [-1], keepDims: true }), [[2, 5]]],
    'reshape, transpose': [(a) => ops.transpose(ops.reshape(a, [3, 2, 2]), [2, 0, 1]), [[2, 6]]],
    'slice, concat': [
      (a, b) => ops.concat([ops.slice(a, [0, 1], [2, 2]), b], 1),
      [
        [2, 4],
        [2, 3],
      ],
    ],
    writeInto: [
      (a, b) => ops.writeInto(ops.mul(a, 2), b, [1, 0]),
      [
        [3, 2],
        [1, 2],
      ],
    ],
    'matmul, matrices': [
      (a, b) => ops.matmul(a, b),
      [
        [2, 3],
        [3, 4],
      ],
    ],
    'matmul, transposed': [
      (a, b) => ops.matmul(a, b, { transposeA: true, transposeB: true }),
      [
        [3, 2],
        [4, 3],
      ],
    ],
    'matmul, batched': [
      (a, b) => ops.matmul(a, b, { transposeB: true }),
      [
        [2, 2, 3],
        [2, 4, 3],
      ],
    ],
    'matmul, matrix on the right': [
      (a, b) => ops.matmul(a, b, { transposeB: true }),
      [
        [2, 2, 3],
        [4, 3],
      ],
    ],
    'matmul, matrix on the left': [
      (a, b) => ops.matmul(a, b),
      [
        [2, 3],
        [2, 3, 2],
      ],
    ],
    'matmul, transposed batch and matrix': [
      (a, b) => ops.matmul(a, b, { transposeA: true }),
      [
        [2, 3, 2],
        [3, 4],
      ],
    ],
    softmax: [(a) => ops.softmax(a), [[2, 4]]],
    'topK values': [(a) => ops.topK(a, 2).values, [[3, 5]]],
    takeAlong: [(a) => ops.takeAlong(a, i32([2, 0, -1, 1], [2, 2])), [[2, 3]]],
    putAlong: [(a) => ops.putAlong(i32([3, 0, -1, 1], [2, 2]), a, 4), [[2, 2]]],
    'gatherRows with repeats': [(a) => ops.gatherRows(a, i32([1, 1, -1, 0], [1, 4])), [[1, 2, 3]]],
    scatterAddRows: [(a) => ops.scatterAddRows(3, i32([2, 2, -1, 0], [1, 4]), a), [[1, 4, 2]]],
    rmsNorm: [(a, w) => ops.rmsNorm(a, w), [[2, 4], [4]]],
    layerNorm: [(a, w, b) => ops.layerNorm(a, w, b), [[2, 4], [4], [4]]],
    'relu, gelu, gelu_tanh, silu': [
      (a) => ops.add(ops.add(ops.relu(a), ops.gelu(a)), ops.add(ops.geluTanh(a), ops.silu(a))),
      [[6]],
    ],
    crossEntropy: [(a) => ops.crossEntropy(a, i32([2, -1, 0], [3])), [[3, 4]]],
  };
  for (const [name, [f, shapes]] of Object.entries(cases)) test(name, () => checkGradient(f, shapes));
});

describe('tapes', () => {
  test('second derivatives: d2/dx2 sum(x^3) = 6 x', async () => {
    const cube = (x: ops.Tensor): ops.Tensor => ops.sum(ops.mul(x, ops.mul(x, x)));
    const x = ops.tensor(backend, [1, -2, 3]);
    const second = ops.grad((y: ops.Tensor) => ops.sum(ops.grad(cube)(y)))(x);
    expect([...(await second.data())]).toEqual([6, -12, 18]);
  });

  test('gradients come in the form of the parameters, zeros where nothing depends on one', async () => {
    const parameters = {
      layer: [ops.tensor(backend, [2]), ops.tensor(backend, [5, 6])],
      unused: ops.tensor(backend, [7]),
    };
    const { value, gradients } = ops.valueAndGrad((p: typeof parameters) =>
      ops.sum(ops.mul(p.layer[0] as ops.Tensor, p.layer[1] as ops.Tensor)),
    )(parameters);
    expect((await value.data())[0]).toBe(22);
    expect([...(await (gradients.layer[0] as ops.Tensor).data())]).toEqual([11]);
    expect([...(await (gradients.layer[1] as ops.Tensor).data())]).toEqual([2, 2]);
    expect([...(await gradients.unused.data())]).toEqual([0]);
  });

  test('a tape keeps what it needs after the caller disposed of it, and frees it in the end', async () => {
    const own = createReferenceBackend();
    const x = ops.tensor(own, [1, 2, 3]);
    const before = own.memory().live;
    const pulled = ops.pullback((a: ops.Tensor) => ops.exp(ops.mul(a, a)), x);
    const gradient = ops.scope(() => pulled.backward(ops.fill(own, 1, [3])));
    expect((await gradient.data())[0]).toBeCloseTo(2 * Math.E, 5);
    for (const one of [gradient, pulled.output]) one.dispose();
    pulled.dispose();
    expect(own.memory().live).toBe(before);
  });

  test('a loss that is no scalar is an error', () => {
    const x = ops.tensor(backend, [1, 2]);
    expect(() => ops.grad((a: ops.Tensor) => ops.mul(a, 2))(x)).toThrow(/does not return a scalar/);
  });

  test('a loss that is no scalar leaves nothing behind, nor does what is no tensor', () => {
    const own = createReferenceBackend();
    const x = ops.tensor(own, [1, 2, 3]);
    const before = own.memory().live;
    expect(() => ops.valueAndGrad((a: ops.Tensor) => ops.mul(a, a))(x)).toThrow(/got a Tensor, f32 \[3\]/);
    const pair = (a: ops.Tensor): ops.Tensor => [ops.sum(a), ops.exp(a)] as unknown as ops.Tensor;
    expect(() => ops.grad(pair)(x)).toThrow(/got an array of 2/);
    expect(() => ops.grad((() => {}) as unknown as (a: ops.Tensor) => ops.Tensor)(x)).toThrow(
      /got undefined/,
    );
    expect(own.memory().live).toBe(before);
  });

  test('a function that returns its parameter leaves the parameter to the caller', async () => {
    const own = createReferenceBackend();
    const x = ops.tensor(own, [3], []);
    const { value, gradients } = ops.valueAndGrad((a: ops.Tensor) => a)(x);
    value.dispose();
    expect([...(await gradients.data())]).toEqual([1]);
    ops
      .grad((a: ops.Tensor) => a)(x)
      .dispose();
    expect(() =>
      ops
        .grad((a: ops.Tensor) => a)(gradients)
        .dispose(),
    ).not.toThrow();
    expect([...(await x.data())]).toEqual([3]);
    const vector = ops.tensor(own, [1, 2]);
    expect(() => ops.grad((a: ops.Tensor) => a)(vector)).toThrow(/does not return a scalar/);
    expect(vector.isDisposed).toBe(false);
  });

  test('backward() after dispose() is an error', () => {
    const x = ops.tensor(backend, [1, 2]);
    const pulled = ops.pullback((a: ops.Tensor) => ops.mul(a, a), x);
    pulled.dispose();
    pulled.dispose();
    expect(() => pulled.backward(x)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
  });

  test('a cotangent of more tensors than the output is an error', () => {
    const x = ops.tensor(backend, [1, 2]);
    const pulled = ops.pullback((a: readonly ops.Tensor[]) => a.map((one) => ops.mul(one, 2)), [x]);
    expect(() => pulled.backward([x, x])).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    pulled.dispose();
  });

  test('parameters need no type where they are an object of tensors', async () => {
    const step = ops.valueAndGrad(({ w, b }) => ops.sum(ops.mul(w as ops.Tensor, b as ops.Tensor)));
    const parameters = { w: ops.tensor(backend, [2, 3]), b: ops.tensor(backend, [5, 7]) };
    const { value, gradients } = step(parameters);
    expectTypeOf(gradients).toEqualTypeOf<ops.NamedTensors>();
    expect((await value.data())[0]).toBe(31);
    expect([...(await (gradients.w as ops.Tensor).data())]).toEqual([5, 7]);
    const typed = ops.grad(({ w, b }: { w: ops.Tensor; b: ops.Tensor }) => ops.sum(ops.mul(w, b)))(
      parameters,
    );
    expectTypeOf(typed).toEqualTypeOf<{ w: ops.Tensor; b: ops.Tensor }>();
  });
});

describe('gradients of gradients', () => {
  const layers: Record<string, (b: ops.Backend, x: ops.Tensor) => ops.Tensor> = {
    'topKAttention, k 2': (_, x) => attend(x, { k: 2 }),
    'topKAttention, k 1': (_, x) => attend(x, { k: 1 }),
    'topKAttention, all keys': (_, x) => attend(x, { k: 9 }),
    'topKAttention in chunks': (_, x) => attend(x, { k: 2, queryChunk: 1 }),
    exactAttention: (_, x) => attend(x, undefined),
    'exactAttention, causal': (_, x) => attend(x, undefined, { causal: true }),
    'a bias of attention': (b, x) => {
      const q = ops.tensor(b, numbers(6, 5), [1, 1, 3, 2]);
      return ops.topKAttention(q, q, q, {
        k: 2,
        bias: ops.reshape(ops.matmul(x, x, { transposeB: true }), [1, 1, 3, 3]),
      });
    },
    'topKFeedForward, k 2': (_, x) => layer(x, 2),
    'topKFeedForward, all units': (_, x) => layer(x, 9),
  };
  const attend = (
    x: ops.Tensor,
    topK: { k: number; queryChunk?: number } | undefined,
    more = {},
  ): ops.Tensor => {
    const y = ops.reshape(x, [1, 1, 3, 2]);
    return topK === undefined
      ? ops.exactAttention(y, y, y, more)
      : ops.topKAttention(y, y, y, { ...topK, ...more });
  };
  const layer = (x: ops.Tensor, k: number): ops.Tensor =>
    ops.topKFeedForward(x, { wIn: ops.transpose(x), wOut: x }, { k, activation: 'gelu' });

  for (const fused of [true, false]) {
    const own = createReferenceBackend({ fused, floatStorage: 'f64' });
    const x = ops.tensor(own, numbers(6, 1), [3, 2]);
    for (const [name, f] of Object.entries(layers)) {
      test(`${name}, fused ${fused}: an error, not a number`, async () => {
        const loss = (y: ops.Tensor): ops.Tensor => ops.sum(ops.mul(f(own, y), f(own, y)));
        const first = ops.grad(loss);
        const squared = (y: ops.Tensor): ops.Tensor => {
          const g = first(y);
          return ops.sum(ops.mul(g, g));
        };
        expect(() => ops.grad(squared)(x)).toThrow(
          expect.objectContaining({
            code: 'NOT_DIFFERENTIABLE',
            message: expect.stringMatching(
              /^(topKAttention|exactAttention|topKFeedForward): second-order gradients/,
            ),
          }),
        );
        // With a direction from outside, which makes the second loss linear in the gradient, too.
        const direction = ops.tensor(own, numbers(6, 3), [3, 2]);
        expect(() => ops.grad((y: ops.Tensor) => ops.sum(ops.mul(first(y), direction)))(x)).toThrow(
          expect.objectContaining({ code: 'NOT_DIFFERENTIABLE' }),
        );
        // First-order gradients inside of an open tape that does not need them are fine.
        const outer = ops.grad((y: ops.Tensor) => {
          first(y);
          return ops.sum(ops.mul(y, y));
        })(x);
        expect(await outer.data()).toEqual(await ops.mul(x, 2).data());
      });
    }
    test(`returned indices have no gradient, fused ${fused}`, async () => {
      const g = ops.grad((y: ops.Tensor) => {
        const { indices } = ops.topKAttention(y, y, y, { k: 2, returnIndices: true });
        return ops.sum(ops.cast(indices, 'f32'));
      })(ops.reshape(x, [1, 1, 3, 2]));
      expect(new Set(await g.data())).toEqual(new Set([0]));
    });
  }

  test('softmax, matmul and the other ops have second derivatives', async () => {
    const attention = (y: ops.Tensor): ops.Tensor =>
      ops.sum(ops.mul(ops.matmul(ops.softmax(ops.matmul(y, y, { transposeB: true })), y), y));
    const direction = ops.tensor(backend, numbers(6, 3), [3, 2]);
    await checkGradient((y) => ops.sum(ops.mul(ops.grad(attention)(y), direction)), [[3, 2]]);
  });
});
