import { add, cast, fill, lt, scope, sub, type Tensor, takeAlong, where } from '@topk-attention/core';
import {
  type CountBelowInputs,
  type CountBelowOutputs,
  type CountBelowRequest,
  defineOperation,
  runOperation,
} from '@topk-attention/core/backend';

const sizeOfTargets = ({ rows, targets }: CountBelowRequest): number => rows * targets;

const operation = defineOperation<CountBelowRequest, CountBelowInputs<Tensor>, CountBelowOutputs<Tensor>>({
  name: 'countBelow',
  title: 'search among ascending entries',
  outputs: ({ rows, targets }) => ({ below: { shape: [rows, targets], dtype: 'i32' } }),
  isEmpty: (request) => sizeOfTargets(request) === 0 || request.count < 1,
  forward: {
    bytes: (request) => ({
      inputs: 4 * (request.rows * request.entries + (request.hasFirst ? 2 : 1) * sizeOfTargets(request)),
      output: 4 * sizeOfTargets(request),
      saved: 0,
    }),
    composed: (request, { boolBytes = 1 }) => ({
      // Places now and next, the entries there and what is added to a place, and where the runs begin if nobody says.
      scratchBytes: () => ((request.hasFirst ? 16 : 20) + boolBytes) * sizeOfTargets(request),
      run: (inputs) => ({ below: halved(inputs, request.count) }),
    }),
  },
});

/**
 * How many of the `count` ascending entries from `first` on lie below a target: i32 [G, M], from 0 to `count`. By
 * halving, in about log2(count) looks; one launch on WebGPU, or some where tensors exceed its bindings. It has no
 * gradient.
 *
 * @param table f32 [G, N]
 * @param targets f32 [G, M]
 * @param first i32 [G, M], places in the rows of the table. Default: where these begin.
 */
export function countBelow(table: Tensor, targets: Tensor, count: number, first?: Tensor): Tensor {
  const [rows, entries] = table.shape as readonly [number, number];
  const each = targets.shape[1] as number;
  const request = { rows, entries, targets: each, count, hasFirst: first !== undefined };
  const inputs = { table, targets, ...(first && { first }) };
  return runOperation(operation, { where: 'countBelow', request, inputs }).below;
}

/** Composed of ops: each step moves by one of two numbers that do not depend on the values. */
function halved({ table, targets, first }: CountBelowInputs<Tensor>, count: number): Tensor {
  const { backend, shape } = targets;
  return scope(() => {
    const begin = first ?? fill(backend, 0, shape, 'i32');
    const steps = halvesOf(count);
    let at = add(begin, (steps[0] as number) - 1);
    for (const [index, step] of steps.entries()) {
      const next = scope(() => {
        const isBelow = scope(() => lt(takeAlong(table, at), targets));
        const following = steps[index + 1];
        // The last look is at the only entry that is left.
        if (following === undefined) return add(at, cast(isBelow, 'i32'));
        return add(at, where(isBelow, fill(backend, following, [], 'i32'), following - step));
      });
      at.dispose();
      at = next;
    }
    return sub(at, begin);
  });
}

/** The lower halves of what is left: with h of n entries below, n - h are left, and otherwise as many are looked at. */
function halvesOf(count: number): readonly number[] {
  const halves: number[] = [];
  let left = count;
  while (left > 1) {
    const half = Math.floor(left / 2);
    halves.push(half);
    left -= half;
  }
  return [...halves, 1];
}
