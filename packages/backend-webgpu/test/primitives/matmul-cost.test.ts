import { expect, test } from 'vitest';
import { chooseProduct, productScratch } from '../../src/primitives/matmul-choose.js';
import { divide, splitBytes } from '../../src/primitives/matmul-cost.js';

const gpu = { isSoftware: false };

/** The tile and the number of parts, as in '64x128 / 2'. */
function chosen(rows: number, inner: number, columns: number, batch = 1): string {
  const sizes = { batch, rows, inner, columns };
  const variant = chooseProduct(gpu, sizes);
  if (typeof variant === 'string') return variant;
  return `${variant.rows}x${variant.columns} / ${divide(variant, sizes).parts}`;
}

test('tiles and parts of products, forward and backward, of a wide and of a small model', () => {
  const table = [
    ...[[4096, 768, 768] as const, [4096, 768, 3072] as const, [768, 4096, 768] as const],
    ...[[2048, 768, 768] as const, [2048, 3072, 768] as const, [768, 2048, 3072] as const],
    ...[[131_072, 64, 64] as const, [131_072, 64, 128] as const, [64, 131_072, 64] as const],
    ...[[1, 768, 3072] as const, [131_072, 64, 32] as const, [64, 64, 64] as const],
  ].map(([rows, inner, columns]) => `${rows} x ${inner} x ${columns}: ${chosen(rows, inner, columns)}`);
  expect(table).toMatchInlineSnapshot(`
    [
      "4096 x 768 x 768: 64x128 / 1",
      "4096 x 768 x 3072: 128x128 / 1",
      "768 x 4096 x 768: 128x128 / 11",
      "2048 x 768 x 768: 64x128 / 2",
      "2048 x 3072 x 768: 128x128 / 4",
      "768 x 2048 x 3072: 128x128 / 3",
      "131072 x 64 x 64: 64x64 / 1",
      "131072 x 64 x 128: 128x128 / 1",
      "64 x 131072 x 64: 64x64 / 396",
      "1 x 768 x 3072: narrow",
      "131072 x 64 x 32: 128x32 / 1",
      "64 x 64 x 64: 64x64 / 1",
    ]
  `);
  // dQ of heads of 32: no columns that are not there.
  expect([chosen(512, 4096, 32, 16), chosen(512, 2048, 32, 32), chosen(64, 4096, 32, 16)]).toEqual([
    '128x32 / 6',
    '128x32 / 3',
    '64x64 / 16',
  ]);
  expect(chooseProduct({ isSoftware: true }, { batch: 1, rows: 4096, inner: 64, columns: 64 })).toBe('plain');
});

test('partial sums stay within their bound', () => {
  for (const batch of [1, 3, 24]) {
    for (const rows of [17, 64, 100, 768, 5000]) {
      for (const inner of [64, 511, 4096, 131_072]) {
        for (const columns of [1, 33, 64, 65, 768, 3072]) {
          const sizes = { batch, rows, inner, columns };
          const bytes = productScratch(chooseProduct(gpu, sizes), sizes);
          expect(bytes, `${batch} x ${rows} x ${inner} x ${columns}`).toBeLessThanOrEqual(
            splitBytes(batch, rows, inner, columns),
          );
        }
      }
    }
  }
});
