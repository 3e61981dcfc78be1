import { describe, expect, test } from 'vitest';
import { type Backend, type Tensor, TopKError, tensor, transpose, writeAt, zeros } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const backend: Backend = createReferenceBackend();
const listOf = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof TopKError ? error.code : String(error);
  }
  return 'nothing was thrown';
}

describe('writeAt', () => {
  test('a backend that has it gets the axis from 0 on, and whether dst is held', async () => {
    const calls: (readonly [axis: number, exclusive: boolean])[] = [];
    const own: Backend = {
      ...backend,
      writeAt: (dst, x, axis, _start, exclusive) => {
        calls.push([axis, exclusive]);
        return backend.writeInto(dst, x, [0, 1], false);
      },
    };
    const x = tensor(own, [5, 6], [2, 1]);
    const start = tensor(own, [1], [1], 'i32');
    const dst = zeros(own, [2, 3]);
    const held = dst.alias();
    const made = writeAt(dst, x, -1, start);
    expect(await listOf(made)).toEqual([0, 5, 0, 0, 6, 0]);
    writeAt(made, x, 1, start).dispose();
    expect(calls).toEqual([
      [1, false],
      [1, true],
    ]);
    for (const one of [x, start, held]) one.dispose();
  });

  test("what does not fit is refused, and dst stays the caller's", async () => {
    const dst = zeros(backend, [2, 3]);
    const start = tensor(backend, [0], [1], 'i32');
    const two = tensor(backend, [0, 1], [2], 'i32');
    const x = zeros(backend, [2, 1]);
    expect(codeOf(() => writeAt(dst, zeros(backend, [3, 1]), 1, start))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => writeAt(dst, zeros(backend, [2, 4]), 1, start))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => writeAt(dst, zeros(backend, [2]), 1, start))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => writeAt(dst, x, 1, two))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => writeAt(dst, x, 2, start))).toBe('INVALID_OPTION');
    expect(codeOf(() => writeAt(dst, x, 1, zeros(backend, [1])))).toBe('DTYPE_MISMATCH');
    expect(codeOf(() => writeAt(dst, zeros(backend, [2, 1], 'i32'), 1, start))).toBe('DTYPE_MISMATCH');
    expect(codeOf(() => writeAt(dst, x, 1, 0 as unknown as Tensor))).toBe('INVALID_OPTION');
    expect(await listOf(dst)).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

test('axes of one element move without a copy', async () => {
  let transposes = 0;
  const own: Backend = {
    ...backend,
    transpose: (x, permutation) => {
      transposes++;
      return backend.transpose(x, permutation);
    },
  };
  const x = tensor(own, [1, 2, 3, 4, 5, 6], [2, 1, 3]);
  const moved = transpose(x, [1, 0, 2]);
  expect(moved.shape).toEqual([1, 2, 3]);
  expect(await listOf(moved)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(transposes).toBe(0);
  const turned = transpose(x, [2, 1, 0]);
  expect(await listOf(turned)).toEqual([1, 4, 2, 5, 3, 6]);
  expect(transposes).toBe(1);
});
