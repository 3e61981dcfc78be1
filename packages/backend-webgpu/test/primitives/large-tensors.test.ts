import { type DType, type Shape, sizeOf } from '@topk-attention/core';
import { createReferenceBackend, type ReferenceTensor } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { countsBelow } from '../../src/primitives/count-below.js';
import { recordBinary, recordCast, recordWhere } from '../../src/primitives/elementwise.js';
import { recordFill } from '../../src/primitives/fill.js';
import { recordConcat, recordSlice, recordTranspose } from '../../src/primitives/layout.js';
import { recordReduce } from '../../src/primitives/reduce.js';
import { recordScatterAddRows } from '../../src/primitives/scatter-add-rows.js';
import type { Stream } from '../../src/runtime/stream.js';
import type { View } from '../../src/runtime/view.js';
import { Storage, WebGpuTensor } from '../../src/tensor.js';
import { narrowBindings } from '../support/narrow-bindings.js';
import { Harness } from '../support/primitives-harness.js';
import { PLAIN } from '../support/recording.js';

const software = softwareGpuAvailability();
const BINDING_BYTES = 2048;
const reference = createReferenceBackend();

/** A device that binds 2 KiB at a time. */
const narrow = (stream: Stream): Stream => narrowBindings(stream, BINDING_BYTES);

const values = (shape: Shape): number[] =>
  Array.from({ length: sizeOf(shape) }, (_, i) => ((7 * i) % 41) - 20);

describe('tensors larger than a binding', () => {
  const each = (
    name: string,
    dtype: DType,
    shape: Shape,
    record: (stream: Stream, x: View, y: View, out: View) => void,
    expected: (x: ReferenceTensor, y: ReferenceTensor) => ReferenceTensor,
  ): void => {
    optional(`${name}, ${dtype} [${shape}]`, software, async () => {
      const harness = await Harness.create();
      const x = harness.upload(values(shape), shape, dtype);
      const y = harness.upload(
        values(shape).map((value) => (value % 3) + 1),
        shape,
        dtype,
      );
      const wanted = expected(x.reference, y.reference);
      const out = harness.empty(wanted.shape, wanted.dtype);
      record(narrow(harness.stream), x.view, y.view, out);
      expect(await harness.read(out)).toEqual(await harness.expected(wanted));
      harness.stream.device.destroy();
    });
  };

  for (const dtype of ['f32', 'f16'] as const) {
    for (const shape of [[5000], [37, 131], [3, 700, 2]] as const) {
      each(
        'add',
        dtype,
        shape,
        (stream, x, y, out) => recordBinary(stream, 'add', x, y, out),
        (x, y) => reference.binary('add', x, y),
      );
      each(
        'fill',
        dtype,
        shape,
        (stream, _x, _y, out) => recordFill(stream, 2.5, out),
        (x) => reference.fill(2.5, x.shape, dtype),
      );
      const axes = shape.map((_, axis) => axis);
      // One step of the last shape's first axis is more than a binding holds.
      const leading = shape.length === 3 ? [] : [[0]];
      for (const own of [axes, [axes.length - 1], ...leading]) {
        for (const reduction of ['sum', 'max'] as const) {
          each(
            `${reduction} over ${own}`,
            dtype,
            shape,
            (stream, x, _y, out) => recordReduce(stream, reduction, x, own, out),
            (x) => reference[reduction](x, own),
          );
        }
      }
      each(
        'concat',
        dtype,
        shape,
        (stream, x, y, out) => recordConcat(stream, [x, y], 0, out),
        (x, y) => reference.concat([x, y], 0),
      );
    }
  }
  each(
    'cast to f16',
    'f32',
    [4999],
    (stream, x, _y, out) => recordCast(stream, x, out),
    (x) => reference.cast(x, 'f16'),
  );
  each(
    'cast from f16',
    'f16',
    [4999],
    (stream, x, _y, out) => recordCast(stream, x, out),
    (x) => reference.cast(x, 'f32'),
  );
  each(
    'slice',
    'f32',
    [40, 50],
    (stream, x, _y, out) => recordSlice(stream, x, [3, 7], out),
    (x) => reference.slice(x, [3, 7], [30, 41]),
  );
  each(
    'transpose of leading axes',
    'f16',
    [9, 11, 24],
    (stream, x, _y, out) => recordTranspose(stream, x, [0, 2, 1], out),
    (x) => reference.transpose(x, [0, 2, 1]),
  );

  for (const variant of ['direct', 'sorted'] as const) {
    const title = `scatterAddRows, ${variant}: batches one by one, where two are more than a binding holds`;
    optional(title, software, async () => {
      const harness = await Harness.create();
      // A batch takes 1,620 bytes of updates, or 1,440 of entries in f16: its results fill whole words.
      for (const [dtype, count, width, rows] of [
        ['f32', 27, 15, 24],
        ['i32', 27, 15, 24],
        ['f16', 180, 3, 10],
        ['f16', 180, 4, 9],
      ] as const) {
        const indices = harness.upload(
          Array.from({ length: 3 * count }, (_, i) => (7 * i) % (rows + 1)),
          [3, count],
          'i32',
        );
        const updates = harness.upload(values([3, count, width]), [3, count, width], dtype);
        const out = harness.empty([3, rows, width], dtype);
        recordScatterAddRows(narrow(harness.stream), indices.view, updates.view, out, variant);
        const wanted = harness.reference.scatterAddRows(rows, indices.reference, updates.reference);
        expect(await harness.read(out)).toEqual(await harness.expected(wanted));
      }
      const indices = harness.upload(values([2, 180]), [2, 180], 'i32');
      const updates = harness.upload(values([2, 180, 3]), [2, 180, 3], 'f16');
      const out = harness.empty([2, 9, 3], 'f16');
      // Results of 27 halves: two batches share a word, so both are needed at a time, with 2 * 8 * 180 bytes of entries.
      expect(() =>
        recordScatterAddRows(narrow(harness.stream), indices.view, updates.view, out, variant),
      ).toThrow(
        expect.objectContaining({
          code: 'DOES_NOT_FIT',
          message: expect.stringMatching(/at most 1792 bytes.*2880 bytes/s),
        }),
      );
      harness.stream.device.destroy();
    });
  }

  optional('searches of rows one by one, and two at a time', software, async () => {
    const harness = await Harness.create();
    const tensorOf = ({ span, shape, dtype }: View): WebGpuTensor =>
      new WebGpuTensor(new Storage(span, span.size), shape, dtype);
    const facts = { ...PLAIN, bindingBytes: BINDING_BYTES };
    const operation = countsBelow(narrow(harness.stream), facts, (shape, dtype) =>
      tensorOf(harness.empty(shape, dtype)),
    );
    for (const [entries, targets] of [
      [300, 70],
      [70, 300],
      [200, 199],
    ] as const) {
      const [rows, count] = [5, 60];
      const table = Array.from({ length: rows * entries }, (_, at) => Math.floor((at % entries) / 3));
      const wanted = values([rows, targets]);
      const first = wanted.map((value, at) => (value + 20 + at) % (entries - count));
      const request = { rows, entries, targets, count, hasFirst: true };
      const prepared = operation.prepare(request, limitsOf(facts));
      if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
      const inputs = {
        table: tensorOf(harness.upload(table, [rows, entries]).view),
        targets: tensorOf(harness.upload(wanted, [rows, targets]).view),
        first: tensorOf(harness.upload(first, [rows, targets], 'i32').view),
      };
      const { below } = prepared.run(inputs, 1);
      const expected = wanted.map((target, at) => {
        const start = Math.floor(at / targets) * entries + (first[at] as number);
        return table.slice(start, start + count).filter((one) => one < target).length;
      });
      expect(await harness.read(below)).toEqual(expected);
      expect(new Set(expected).size).toBeGreaterThan(9);
    }
    harness.close();
  });

  optional('what cannot be split says so with the numbers', software, async () => {
    const harness = await Harness.create();
    const { view } = harness.upload(values([4, 2000]), [4, 2000]);
    const condition = harness.upload(values([4, 1]), [4, 1], 'bool');
    const out = harness.empty([4, 2000]);
    const stream = narrow(harness.stream);
    const total = harness.empty([1, 2000]);
    expect(() => recordReduce(stream, 'sum', view, [0], total)).toThrow(
      expect.objectContaining({ code: 'DOES_NOT_FIT', message: expect.stringContaining('32000 bytes') }),
    );
    expect(() => recordWhere(stream, condition.view, view, view, out)).toThrow(
      expect.objectContaining({ code: 'DOES_NOT_FIT', message: expect.stringContaining('1792 bytes') }),
    );
    harness.stream.device.destroy();
  });
});
