import { expect, test } from 'vitest';
import * as ops from '../../src/index.js';
import { grad, matmul, mul, sum, type Tensor, tensor, where } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

/** A backend that counts calls of its primitives. */
function counting() {
  const counts = new Map<string, number>();
  const backend = new Proxy(createReferenceBackend(), {
    get(target, name, receiver) {
      const value: unknown = Reflect.get(target, name, receiver);
      if (typeof value !== 'function' || !['binary', 'where', 'matmul', 'reduce'].includes(String(name))) {
        return value;
      }
      return (...given: unknown[]) => {
        counts.set(String(name), (counts.get(String(name)) ?? 0) + 1);
        return Reflect.apply(value, target, given);
      };
    },
  });
  return { backend, counts };
}

test('gradients that nothing follows are not computed', () => {
  const { backend, counts } = counting();
  const x = tensor(backend, [1, 2, 3, 4], [2, 2]);
  const constant = tensor(backend, [5, 6, 7, 8], [2, 2]);
  const condition = ops.lt(x, constant);
  const names = ['binary', 'where', 'matmul', 'reduce'] as const;
  const countsOf = (f: (x: Tensor) => Tensor): readonly number[] => {
    counts.clear();
    grad((one: Tensor) => sum(f(one)))(x).dispose();
    return names.map((name) => counts.get(name) ?? 0);
  };
  const alone = countsOf(ops.neg);
  /** Calls besides those of the sum: binary, where, matmul, reduce. */
  const callsOf = (f: (x: Tensor) => Tensor): readonly number[] =>
    countsOf(f).map((count, at) => count - (alone[at] as number));
  const row = tensor(backend, [5, 6]);
  expect(callsOf((one) => mul(one, 2))).toEqual([2, 0, 0, 0]);
  expect(callsOf((one) => mul(one, row))).toEqual([2, 0, 0, 0]);
  expect(callsOf((one) => ops.max(one, 0))).toEqual([1, 1, 0, 0]);
  expect(callsOf((one) => where(condition, one, 0))).toEqual([0, 2, 0, 0]);
  expect(callsOf((one) => matmul(one, constant))).toEqual([0, 0, 2, 0]);
  expect(callsOf((one) => matmul(constant, one))).toEqual([0, 0, 2, 0]);
  // Both are wanted, and added up.
  expect(callsOf((one) => mul(one, one))).toEqual([4, 0, 0, 0]);
});

test('what nothing follows inside may be followed outside', async () => {
  const { backend } = counting();
  const x = tensor(backend, [1, 2, 3]);
  const weight = tensor(backend, [4, 5, 6]);
  // d/dx sum(w x^2) = 2 w x, whose gradient by w is 2 x.
  const inner = (w: Tensor): Tensor => sum(grad((one: Tensor) => sum(mul(w, mul(one, one))))(x));
  expect([...(await grad(inner)(weight).data())]).toEqual([2, 4, 6]);
});

/** Bytes that the tape keeps of `f` alone: those alive after it, without its result. */
function bytesKept(f: (x: Tensor) => Tensor, ...inputs: readonly Tensor[]): number {
  const { backend } = inputs[0] as Tensor;
  let kept = Number.NaN;
  grad((...[one]: readonly Tensor[]) => {
    const before = backend.memory().live;
    const result = f(one as Tensor);
    kept = backend.memory().live - before - 4 * result.shape.reduce((a, b) => a * b, 1);
    return sum(result);
  })(inputs[0] as Tensor).dispose();
  return kept;
}

test('what no wanted gradient reads is not kept', () => {
  const backend = createReferenceBackend();
  const x = tensor(backend, new Float32Array(64).fill(0.5), [8, 8]);
  const one = 4 * 64;
  const fixed = tensor(backend, new Float32Array(64).fill(2), [8, 8]);
  // The input itself is alive anyway: what counts is `made`, and results in between.
  const made = (f: (made: Tensor) => Tensor) => (x: Tensor) => ops.scope(() => f(ops.add(x, 1)));
  const kept = (f: (made: Tensor) => Tensor): number => bytesKept(made(f), x);
  expect(kept(ops.neg)).toBe(0);
  expect(kept(ops.exp)).toBe(0);
  expect(kept(ops.tanh)).toBe(0);
  expect(kept(ops.log)).toBe(one);
  expect(kept((y) => mul(y, fixed))).toBe(0);
  expect(kept((y) => mul(y, 2))).toBe(4);
  expect(kept((y) => mul(y, y))).toBe(one);
  expect(kept((y) => ops.div(y, fixed))).toBe(0);
  expect(kept((y) => ops.div(fixed, y))).toBe(one);
  expect(kept((y) => matmul(y, fixed))).toBe(0);
  expect(kept((y) => matmul(fixed, y))).toBe(0);
  expect(kept((y) => matmul(y, y))).toBe(one);
  expect(kept((y) => ops.linear(y, fixed))).toBe(0);
});
