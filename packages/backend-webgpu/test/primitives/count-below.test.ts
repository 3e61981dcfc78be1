import type { DType, Shape } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import type { WebGpuBackend } from '../../src/index.js';
import { limitsOf } from '../../src/limits.js';
import { countsBelow } from '../../src/primitives/count-below.js';
import { Storage, WebGpuTensor } from '../../src/tensor.js';
import { kernelsOf, PLAIN } from '../support/recording.js';
import { openTestBackend } from '../support/software-gpu.js';
import { randomNumbers } from '../support/tensor.js';

const software = softwareGpuAvailability();

/** Rows of a table, the targets of each, and where their runs begin. */
interface Search {
  readonly table: readonly (readonly number[])[];
  readonly targets: readonly (readonly number[])[];
  readonly first?: readonly (readonly number[])[];
  readonly count: number;
}

async function found(backend: WebGpuBackend, { table, targets, first, count }: Search): Promise<number[]> {
  const rows = table.length;
  const [entries, each] = [table[0]?.length ?? 0, targets[0]?.length ?? 0];
  const request = { rows, entries, targets: each, count, hasFirst: first !== undefined };
  const prepared = backend.fused?.countBelow?.prepare(request, backend.capabilities.limits);
  if (prepared === undefined || 'refusals' in prepared) throw new Error(`refused: ${prepared?.refusals}`);
  const inputs = {
    table: backend.upload(Float32Array.from(table.flat()), [rows, entries], 'f32'),
    targets: backend.upload(Float32Array.from(targets.flat()), [rows, each], 'f32'),
    ...(first && { first: backend.upload(Int32Array.from(first.flat()), [rows, each], 'i32') }),
  };
  const before = backend.statistics().launches;
  const { below } = prepared.run(inputs, 1);
  expect(below).toMatchObject({ shape: [rows, each], dtype: 'i32' });
  const numbers = Array.from(await backend.read(below));
  expect(backend.statistics().launches - before).toBe(1);
  for (const one of [...Object.values(inputs), below]) backend.release(one);
  return numbers;
}

const listOf = <T>(count: number, of: (at: number) => T): T[] =>
  Array.from({ length: count }, (_, at) => of(at));

const patterns: Readonly<Record<string, (next: () => number) => number>> = {
  random: (next) => Math.fround(next()),
  ties: (next) => Math.round(4 * next()) / 4,
  'all equal': () => 0.5,
  'of both signs': (next) => Math.fround(100 * (next() - 0.5)),
  'zeros of both signs': (next) => (next() < 0.5 ? -0 : 0),
  'one bit apart': (next) => 1 + Math.floor(8 * next()) * 2 ** -23,
  subnormal: (next) => Math.floor(8 * next()) * 2 ** -149,
  'some infinite': (next) =>
    [Number.NEGATIVE_INFINITY, -1, 2, Number.POSITIVE_INFINITY][Math.floor(4 * next())] as number,
};

for (const [name, draw] of Object.entries(patterns)) {
  optional(`as many as a scan counts: ${name}`, software, async () => {
    const backend = await openTestBackend();
    for (const count of [0, 1, 2, 3, 4, 7, 8, 31, 33, 64, 129, 1000]) {
      const [rows, each, lead] = [3, 45, 5];
      const next = randomNumbers(count + 1);
      // Two runs a row; entries around them lie below all targets.
      const runs = listOf(2 * rows, () => listOf(count, () => draw(next)).sort((a, b) => a - b));
      const around = listOf(lead, () => -1e30);
      const table = listOf(rows, (row) => [
        ...around,
        ...(runs[2 * row] as number[]),
        ...(runs[2 * row + 1] as number[]),
        ...around,
      ]);
      const targets = listOf(rows, (row) =>
        listOf(each, (at) => (at % 3 === 0 ? (runs[2 * row]?.[at % Math.max(1, count)] ?? 0) : draw(next))),
      );
      const places = listOf(rows, () => listOf(each, () => (next() < 0.5 ? lead : lead + count)));
      const scan = (run: readonly number[], target: number): number =>
        run.filter((one) => one < target).length;
      const expected = targets.flatMap((own, row) =>
        own.map((target, at) =>
          scan(runs[2 * row + (places[row]?.[at] === lead ? 0 : 1)] as number[], target),
        ),
      );
      expect(await found(backend, { table, targets, first: places, count }), `${count}`).toEqual(expected);
      // Without places, from the first entry of the row on.
      const whole = listOf(rows, (row) => [...(runs[2 * row] as number[]), -1e30]);
      expect(await found(backend, { table: whole, targets, count }), `${count}, whole`).toEqual(
        targets.flatMap((own, row) => own.map((target) => scan(runs[2 * row] as number[], target))),
      );
    }
  });
}

/** By the halving that the contract names. */
function byHalving(row: readonly number[], target: number, first: number, count: number): number {
  const isBelow = (at: number): boolean => (at === -1 ? 0 : (row[at] ?? Number.NaN)) < target;
  let [low, left] = [first, count];
  while (left > 1) {
    const half = Math.floor(left / 2);
    if (isBelow(low + half - 1)) low += half;
    left -= half;
  }
  return low - first + (left === 1 && isBelow(low) ? 1 : 0);
}

optional('NaN, places outside of the row, and entries that do not ascend', software, async () => {
  const backend = await openTestBackend();
  for (const count of [1, 2, 5, 16, 21]) {
    const next = randomNumbers(count);
    const [rows, entries, each] = [3, 20, 60];
    const table = listOf(rows, () =>
      listOf(entries, () => (next() < 0.1 ? Number.NaN : Math.fround(next() - 0.3))),
    );
    const targets = listOf(rows, () =>
      listOf(each, () => (next() < 0.1 ? Number.NaN : Math.fround(next() - 0.3))),
    );
    const first = listOf(rows, () => listOf(each, () => Math.floor(60 * next()) - 25));
    const expected = targets.flatMap((own, row) =>
      own.map((target, at) => byHalving(table[row] as number[], target, first[row]?.[at] as number, count)),
    );
    expect(await found(backend, { table, targets, first, count })).toEqual(expected);
  }
});

optional('a row without entries has none below', software, async () => {
  const backend = await openTestBackend();
  expect(await found(backend, { table: [[]], targets: [[3, 4]], count: 0 })).toEqual([0, 0]);
});

test('a table that exceeds a binding takes launches that do not', () => {
  const kernels = kernelsOf(PLAIN, (stream, view) => {
    const made = (shape: Shape, dtype: DType): WebGpuTensor => {
      const { span } = view(shape, dtype);
      return new WebGpuTensor(new Storage(span, span.size), shape, dtype);
    };
    const request = { rows: 64, entries: 129 * 4096, targets: 2 ** 17, count: 4095, hasFirst: true };
    const prepared = countsBelow(stream, PLAIN, made).prepare(request, limitsOf(PLAIN));
    if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
    const each = [64, 2 ** 17];
    prepared.run(
      { table: made([64, 129 * 4096], 'f32'), targets: made(each, 'f32'), first: made(each, 'i32') },
      1,
    );
  });
  expect(kernels.size).toBe(1);
});

test('a row that no binding holds is refused, and so is a search for nothing', () => {
  const operation = countsBelow({} as never, PLAIN, () => {
    throw new Error('nothing is made');
  });
  const refusalsOf = (entries: number, targets: number): readonly string[] => {
    const request = { rows: 2, entries, targets, count: 9, hasFirst: true };
    const prepared = operation.prepare(request, {} as never);
    return 'refusals' in prepared ? prepared.refusals : [];
  };
  expect(refusalsOf(2 ** 25, 1)).toEqual([expect.stringContaining('exceeds a binding')]);
  expect(refusalsOf(1, 2 ** 25)).toEqual([expect.stringContaining('exceeds a binding')]);
  expect(refusalsOf(2 ** 25 - 64, 2 ** 25 - 64)).toEqual([]);
  expect(refusalsOf(5, 0)).toEqual(['no targets']);
});
