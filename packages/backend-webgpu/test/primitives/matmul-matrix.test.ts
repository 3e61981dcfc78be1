import type { Activation } from '@topk-attention/core';
import { expect, test } from 'vitest';
import {
  chooseProduct,
  fitsUnits,
  launchProduct,
  type MatmulVariant,
  sharesWords,
} from '../../src/primitives/matmul-choose.js';
import { divide } from '../../src/primitives/matmul-cost.js';
import { matrixRefusals } from '../../src/primitives/matmul-matrix.js';
import type { Operand, Product } from '../../src/primitives/matmul-product.js';
import { wholeOf } from '../../src/runtime/binding.js';
import type { Span } from '../../src/runtime/kernel.js';
import { recordedKernels } from '../support/recorded-kernels.js';
import { PLAIN, SUBGROUPS } from '../support/recording.js';

const nowhere: Span = { buffer: {} as GPUBuffer, offset: 0, size: 0 };

interface Sizes {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
}

function productOf(
  { rows, inner, columns }: Sizes,
  parts: Partial<Product> = {},
  span: (bytes: number) => Span = () => nowhere,
): Product {
  const { transposeA = false, transposeB = false } = parts;
  const operand = (size: number, stride: number): Operand => ({
    ...wholeOf(span(2 * size)),
    batchStep: 0,
    stride,
  });
  return {
    ...{ dtype: 'f16', transposeA, transposeB, batch: 1, rows, inner, columns },
    a: operand(rows * inner, transposeA ? rows : inner),
    b: operand(inner * columns, transposeB ? inner : columns),
    out: { ...operand(rows * columns, columns), batchStep: rows * columns },
    ...parts,
  };
}

function chosen(rows: number, inner: number, columns: number): string {
  const product = productOf({ rows, inner, columns });
  const variant: MatmulVariant = chooseProduct(SUBGROUPS, product, fitsUnits(SUBGROUPS, product));
  if (typeof variant === 'string') return variant;
  const units = 'units' in variant ? 'matrix' : 'tiled';
  return `${units} ${variant.rows}x${variant.columns} / ${divide(variant, product).parts}`;
}

test('tiles and parts of products of f16 on matrix units', () => {
  const table = [
    ...[[2048, 768, 3072] as const, [2048, 768, 768] as const, [2048, 3072, 768] as const],
    ...[[768, 2048, 768] as const, [768, 2048, 3072] as const, [4096, 4096, 4096] as const],
    ...[[32_768, 64, 64] as const, [64, 32_768, 128] as const, [8, 768, 768] as const],
    ...[[100, 60, 768] as const, [32, 64, 10] as const],
  ].map(([rows, inner, columns]) => `${rows} x ${inner} x ${columns}: ${chosen(rows, inner, columns)}`);
  expect(table).toMatchInlineSnapshot(`
    [
      "2048 x 768 x 3072: matrix 128x128 / 1",
      "2048 x 768 x 768: matrix 64x64 / 1",
      "2048 x 3072 x 768: matrix 128x128 / 4",
      "768 x 2048 x 768: matrix 128x64 / 5",
      "768 x 2048 x 3072: matrix 128x128 / 3",
      "4096 x 4096 x 4096: matrix 128x128 / 1",
      "32768 x 64 x 64: matrix 128x64 / 1",
      "64 x 32768 x 128: matrix 64x64 / 128",
      "8 x 768 x 768: narrow",
      "100 x 60 x 768: tiled 64x64 / 1",
      "32 x 64 x 10: tiled 64x64 / 1",
    ]
  `);
});

test('which devices and products have them', () => {
  expect(matrixRefusals(SUBGROUPS)).toEqual([]);
  expect(matrixRefusals(PLAIN)).toEqual([
    'the device lacks subgroups',
    'the device lacks shader-f16',
    'the device lacks chromium-experimental-subgroup-matrix',
    'subgroups do not all have 32 lanes',
    'f16 with sums of f32 in 16 x 16 x 16 are known only on NVIDIA devices',
  ]);
  const sizes = { rows: 64, inner: 64, columns: 64 };
  const base = productOf(sizes);
  expect(fitsUnits(SUBGROUPS, base)).toBe(true);
  expect(fitsUnits(PLAIN, base)).toBe(false);
  expect(fitsUnits(SUBGROUPS, { ...base, dtype: 'f32' })).toBe(false);
  expect(fitsUnits(SUBGROUPS, { ...base, a: { ...base.a, base: 4 } })).toBe(false);
  expect(fitsUnits(SUBGROUPS, { ...base, out: { ...base.out, base: 2 } })).toBe(false);
  expect(fitsUnits(SUBGROUPS, { ...base, epilogue: { bias: { span: nowhere, base: 2 } } })).toBe(false);
  expect(fitsUnits(SUBGROUPS, productOf({ ...sizes, inner: 60 }))).toBe(false);
  // Of a^T b, the sums are over rows of both.
  expect(fitsUnits(SUBGROUPS, productOf({ ...sizes, inner: 60 }, { transposeA: true }))).toBe(true);
});

test('only results whose words are shared must have been cleared', () => {
  const shares = (sizes: Sizes, facts = PLAIN, parts: Partial<Product> = {}): boolean =>
    sharesWords(facts, productOf(sizes, parts));
  expect(shares({ rows: 64, inner: 64, columns: 64 })).toBe(false);
  expect(shares({ rows: 64, inner: 64, columns: 64 }, SUBGROUPS)).toBe(false);
  expect(shares({ rows: 64, inner: 64, columns: 62 })).toBe(true);
  expect(shares({ rows: 4, inner: 64, columns: 64 })).toBe(false);
  expect(shares({ rows: 4, inner: 64, columns: 64 }, PLAIN, { transposeB: true })).toBe(true);
  expect(shares({ rows: 64, inner: 64, columns: 64 }, { ...PLAIN, isSoftware: true })).toBe(true);
});

test('shaders of every form are accepted, on a device that runs nothing', async () => {
  const activations: readonly (Activation | undefined)[] = [undefined, 'gelu', 'relu', 'silu'];
  const kernels = await recordedKernels({ ...SUBGROUPS, workgroupBytes: 49_152 }, (stream) => {
    const span = (bytes: number): Span => stream.scratch(bytes);
    let at = 0;
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        for (const [rows, inner, columns] of [
          [2048, 768, 3072],
          [264, 72, 40],
          [64, 4096, 64],
        ] as const) {
          const activation = activations[at++ % activations.length];
          const keeps = activation !== undefined;
          const epilogue = {
            bias: wholeOf(span(2 * columns)),
            activation,
            preactivations: keeps ? span(2 * rows * columns) : undefined,
          };
          const parts = { transposeA, transposeB, ...(at % 2 === 0 && { epilogue }) };
          launchProduct(stream, productOf({ rows, inner, columns }, parts, span));
        }
      }
    }
  });
  const names = kernels.map(({ key }) => key);
  expect(names.filter((name) => name.startsWith('matmul matrix')).length).toBeGreaterThan(8);
  expect(names.some((name) => name.includes('keeps'))).toBe(true);
});
