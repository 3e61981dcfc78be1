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
