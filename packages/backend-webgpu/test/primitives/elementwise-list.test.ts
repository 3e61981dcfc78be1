import {
  elementwiseProgram,
  mapElements,
  mapElementsOfAll,
  ProgramNumbers,
  type Shape,
  sizeOf,
  type Tensor,
  tensor,
  terms,
} from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect, test } from 'vitest';
import type { WebGpuBackend } from '../../src/backend.js';
import { toGpuBuffer } from '../../src/index.js';
import { limitsOf } from '../../src/limits.js';
import { elementwiseLists } from '../../src/primitives/elementwise-list.js';
import type { Stream } from '../../src/runtime/stream.js';
import { PLAIN } from '../support/recording.js';
import { openTestBackend } from '../support/software-gpu.js';
import { wave } from '../support/training.js';

const { add, mul } = terms;
const update = elementwiseProgram(
  { inputs: ['x', 'given', 'average'], numbers: ['rate'] },
  ({ x, given, average, rate }) => {
    const next = add(average, mul(given, rate));
    return { x: add(x, next), average: next };
  },
);

const software = softwareGpuAvailability();
interface Item {
  readonly x: Tensor;
  readonly average: Tensor;
}

const itemsOf = (backend: WebGpuBackend, shapes: readonly Shape[]): readonly Item[] =>
  shapes.map((shape, at) => ({
    x: tensor(backend, wave(sizeOf(shape), at), shape),
    average: tensor(backend, wave(sizeOf(shape), -at), shape),
  }));

/** Runs a call of the program for all of them, and counts its launches. */
async function next(
  backend: WebGpuBackend,
  items: readonly Item[],
  given: readonly Tensor[],
  numbers: ProgramNumbers,
): Promise<{ readonly items: readonly Item[]; readonly launches: number }> {
  await backend.stream.finish();
  const before = backend.stream.counts.launches;
  const made = mapElementsOfAll(
    update,
    items.map((one, at) => ({ ...one, given: given[at] as Tensor })),
    numbers,
  );
  await backend.stream.finish();
  return { items: made, launches: backend.stream.counts.launches - before };
}

function dispose(items: readonly Item[]): void {
  for (const { x, average } of items) {
    x.dispose();
    average.dispose();
  }
}

describe('elementwise programs of several tensors', () => {
  test('group what the device binds together', () => {
    const variantOf = (storageBuffers: number, shapes: readonly Shape[]): unknown => {
      const facts = { ...PLAIN, storageBuffers };
      const none = (): never => {
        throw new Error('nothing is allocated before it runs');
      };
      const allocation = { allocate: none, allocateWindows: none };
      const prepared = elementwiseLists({} as Stream, facts, allocation).prepare(
        { program: update, shapes },
        limitsOf(facts),
      );
      return 'refusals' in prepared ? prepared.refusals : prepared.describe?.().variant;
    };
    const twelve = Array.from({ length: 12 }, () => [3]);
    expect(variantOf(8, twelve)).toBe('12 tensors, 12 of them in 3 groups');
    expect(variantOf(16, twelve)).toBe('12 tensors, 12 of them in 1 groups');
    expect(variantOf(16, [[3], [2 ** 18 + 1], [4], [2 ** 18]])).toBe('4 tensors, 3 of them in 1 groups');
    expect(variantOf(5, twelve)).toEqual(['6 tensors: the device binds 5']);
  });

  optional(
    'one launch for a group from the second call on, and one for a large tensor',
    software,
    async () => {
      const backend = await openTestBackend();
      const shapes: Shape[] = [...Array.from({ length: 5 }, (_, at) => [at + 60]), [2 ** 18 + 5]];
      const vector = tensor(backend, [0.25]);
      const numbers = new ProgramNumbers(vector);
      const given = shapes.map((shape, at) => tensor(backend, wave(sizeOf(shape), 9 + at), shape));
      let items = itemsOf(backend, shapes);
      const live = backend.memory().live;
      const launches: number[] = [];
      for (let call = 0; call < 3; call++) {
        const made = await next(backend, items, given, numbers);
        dispose(items);
        items = made.items;
        launches.push(made.launches);
      }
      expect(launches).toEqual([6, 2, 2]);
      // Windows of 64 words, ten of them, are somewhat more than the tensors.
      expect(Math.abs(backend.memory().live - live)).toBeLessThan(10 * 256);
      let single = itemsOf(backend, shapes);
      for (let call = 0; call < 3; call++) {
        const made = single.map((one, at) =>
          mapElements(update, { ...one, given: given[at] as Tensor }, numbers),
        );
        dispose(single);
        single = made;
      }
      for (const [at, one] of single.entries()) {
        expect(await items[at]?.x.data()).toEqual(await one.x.data());
        expect(await items[at]?.average.data()).toEqual(await one.average.data());
      }
      dispose(single);
      dispose(items);
      for (const one of [...given, vector]) one.dispose();
      expect(backend.memory().live).toBe(0);
    },
  );

  optional('a tensor of a group is exported as a copy', software, async () => {
    const backend = await openTestBackend();
    const shapes: Shape[] = [[5], [70]];
    const vector = tensor(backend, [1]);
    const given = shapes.map((shape) => tensor(backend, wave(sizeOf(shape), 3), shape));
    const numbers = new ProgramNumbers(vector);
    const { items } = await next(backend, itemsOf(backend, shapes), given, numbers);
    const expected = await items[1]?.x.data();
    const { buffer, offset, size } = await toGpuBuffer(items[1]?.x as Tensor);
    expect([offset, size]).toEqual([0, 280]);
    // It belongs to the caller now, who may destroy it.
    buffer.destroy();
    expect(await items[1]?.x.data()).toEqual(expected);
    const again = await next(backend, items, given, numbers);
    expect(again.launches).toBe(1);
  });
});
