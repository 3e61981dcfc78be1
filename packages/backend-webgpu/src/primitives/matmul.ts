import { sizeOf } from '@topk-attention/core';
import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { launchProduct, type MatmulVariant, sharesWords } from './matmul-choose.js';
import type { Product } from './matmul-product.js';
import { doesNotFit, largestBytes } from './split-rows.js';

/**
 * a [..., M, K] x b [..., K, N] -> out [..., M, N], each operand with its last two axes swapped on request. Batch dims
 * are equal, or one operand has rank 2. Sums in f32; equal inputs give equal bits. `variant` overrides the choice by
 * shape.
 */
export function recordMatmul(
  stream: Stream,
  a: View,
  b: View,
  out: View,
  transposeA: boolean,
  transposeB: boolean,
  variant?: MatmulVariant,
): void {
  const batch = sizeOf(out.shape.slice(0, -2));
  const [rows, columns] = out.shape.slice(-2) as [number, number];
  const inner = a.shape.at(transposeA ? -2 : -1) as number;
  if (batch * rows * columns === 0) return;
  const sizes = { rows, inner, columns, transposeA, transposeB };
  const parts = inner === 0 ? [] : [...partsOf(stream, a, b, out, batch, sizes)];
  const isShared = (part: Product): boolean => sharesWords(stream.facts, part, variant);
  if (inner === 0 || (out.dtype === 'f16' && parts.some(isShared))) {
    stream.clear(windowOf(out, 0, batch * rows * columns).span);
  }
  for (const part of parts) launchProduct(stream, part, variant);
}

interface MatrixSizes {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/**
 * The product as one or more whose bindings fit the device: split by batch, then by rows, then by columns. Halves of
 * one word stay together because every split except the last is even.
 */
function* partsOf(
  stream: Stream,
  a: View,
  b: View,
  out: View,
  batch: number,
  sizes: MatrixSizes,
): Generator<Product> {
  const { rows, inner, columns, transposeA, transposeB } = sizes;
  const limit = largestBytes(stream);
  const bytes = storedBytes(out.dtype);
  const aStep = a.shape.length === 2 ? 0 : rows * inner;
  const bStep = b.shape.length === 2 ? 0 : inner * columns;
  const fitting = (size: number): number => Math.floor(limit / (size * bytes));
  const product = (
    batches: readonly [number, number],
    rowRange: readonly [number, number],
    columnRange: readonly [number, number],
  ): Product => {
    const [batchStart, batchCount] = batches;
    const [rowStart, rowCount] = rowRange;
    const [columnStart, columnCount] = columnRange;
    const aRows = transposeA ? 0 : rowStart * inner;
    const bColumns = transposeB ? columnStart * inner : 0;
    const aCount = aStep * (batchCount - 1) + (transposeA ? rows : rowCount) * inner;
    const bCount = bStep * (batchCount - 1) + (transposeB ? columnCount : columns) * inner;
    const from = windowOf(a, batchStart * aStep + aRows, aCount);
    const by = windowOf(b, batchStart * bStep + bColumns, bCount);
    const outStart = (batchStart * rows + rowStart) * columns;
    const to = windowOf(out, outStart, (batchCount - 1) * rows * columns + rowCount * columns);
    return {
      dtype: out.dtype === 'f16' ? 'f16' : 'f32',
      transposeA,
      transposeB,
      batch: batchCount,
      rows: rowCount,
      inner,
      columns: columnCount,
      a: {
        span: from.span,
        base: from.base + (transposeA ? rowStart : 0),
        batchStep: aStep,
        stride: transposeA ? rows : inner,
      },
      b: {
        span: by.span,
        base: by.base + (transposeB ? 0 : columnStart),
        batchStep: bStep,
        stride: transposeB ? inner : columns,
      },
      out: { span: to.span, base: to.base + columnStart, batchStep: rows * columns, stride: columns },
    };
  };
  const largest = Math.max(rows * columns, rows * inner, columns * inner);
  const batchesAtOnce = fitting(largest);
  if (batchesAtOnce >= batch) {
    yield product([0, batch], [0, rows], [0, columns]);
    return;
  }
  if (batchesAtOnce >= 2 || (batchesAtOnce === 1 && (rows * columns) % 2 === 0)) {
    const step = batchesAtOnce === 1 ? 1 : batchesAtOnce - (batchesAtOnce % 2);
    for (let start = 0; start < batch; start += step) {
      yield product([start, Math.min(step, batch - start)], [0, rows], [0, columns]);
    }
    return;
  }
  // Even so that no word of f16 is shared, and, if there are enough rows, in whole tiles.
  const even = (count: number): number => (count >= 256 ? count - (count % 128) : count - (count % 2));
  const rowStep = Math.min(rows, even(Math.min(fitting(columns), transposeA ? rows + 1 : fitting(inner))));
  const columnStep = Math.min(columns, even(transposeB ? fitting(inner) : columns + 1));
  if (rowStep === 0 || columnStep === 0) throw doesNotFit(stream, 'matmul', bytes * Math.max(inner, columns));
  if (transposeA && rows > fitting(inner)) throw doesNotFit(stream, 'matmul', bytes * rows * inner);
  if (!transposeB && columns > fitting(inner)) throw doesNotFit(stream, 'matmul', bytes * columns * inner);
  for (let index = 0; index < batch; index++) {
    for (let row = 0; row < rows; row += rowStep) {
      for (let column = 0; column < columns; column += columnStep) {
        yield product(
          [index, 1],
          [row, Math.min(rowStep, rows - row)],
          [column, Math.min(columnStep, columns - column)],
        );
      }
    }
  }
}
