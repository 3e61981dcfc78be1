// `pnpm bench toeplitz --backend webgpu`: Toeplitz products and their gradients, beside core's composition.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { pullback, type Tensor, toeplitzProduct } from '@topk-attention/core';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { time } from './clock.js';
import { hashed, readElements } from './data.js';
import { DAWN_OPTIONS } from './dawn-options.js';
import { markdownTable } from './print-table.js';

const usage = `pnpm bench toeplitz --backend webgpu [options]

  --tokens a,b    lengths                                   (default 512,1024,4096,16384,65536)
  --heads n       heads, each with factors of its own       (default 8)
  --columns n     columns of a head                         (default 512)
  --rounds n      timed rounds                              (default 20)
  --composed n    most tokens that core's composition takes (default 4096)
  --out file      also write JSON there`;

interface ToeplitzRow {
  readonly tokens: number;
  readonly path: 'fused' | 'composed';
  readonly productMs: number;
  readonly gradientMs: number;
  readonly kernels: Readonly<Record<string, number>>;
  /** Of sampled rows, relative to the largest sum. */
  readonly error: number;
}

const { values } = parseArgs({
  options: {
    backend: { type: 'string' },
    tokens: { type: 'string', default: '512,1024,4096,16384,65536' },
    heads: { type: 'string', default: '8' },
    columns: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '20' },
    composed: { type: 'string', default: '4096' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const [heads, columns, rounds] = [Number(values.heads), Number(values.columns), Number(values.rounds)];

async function measured(fused: boolean, lengths: readonly number[]): Promise<readonly ToeplitzRow[]> {
  const backend = await createWebGpuBackend({
    fused,
    dawnOptions: DAWN_OPTIONS.plain,
    onWarning: () => {},
  });
  const rows: ToeplitzRow[] = [];
  for (const tokens of lengths) {
    const shape = [1, heads, tokens, columns];
    const factors = await hashed(backend, [heads, 2 * tokens - 1], 1);
    const [x, cotangent] = [await hashed(backend, shape, 2), await hashed(backend, shape, 3)];
    const error = await errorOf(backend, factors, x);
    if (!(error < 1e-5)) throw new Error(`${tokens} tokens: off by ${error}`);
    const product = await time(
      backend,
      () => {
        const y = toeplitzProduct(factors, x);
        backend.flush();
        return () => y.dispose();
      },
      { rounds },
    );
    const pulled = pullback((p: { factors: Tensor; x: Tensor }) => toeplitzProduct(p.factors, p.x), {
      factors,
      x,
    });
    const gradients = await time(
      backend,
      () => {
        const made = pulled.backward(cotangent);
        backend.flush();
        return () => {
          for (const one of Object.values(made)) one.dispose();
        };
      },
      { rounds },
    );
    rows.push({
      ...{ tokens, path: fused ? 'fused' : 'composed', error },
      ...{ productMs: product.ms, gradientMs: gradients.ms, kernels: gradients.kernels },
    });
    for (const one of [pulled.output, factors, x, cotangent]) one.dispose();
    pulled.dispose();
    backend.stream.pool.trim();
  }
  await backend.dispose();
  return rows;
}

/** Some rows of the last head against sums in f64. */
async function errorOf(backend: WebGpuBackend, factors: Tensor, x: Tensor): Promise<number> {
  const tokens = x.shape[2] as number;
  const y = toeplitzProduct(factors, x);
  const [first, size] = [(heads - 1) * tokens * columns, tokens * columns];
  const own = await readElements(backend, factors, (heads - 1) * (2 * tokens - 1), 2 * tokens - 1);
  const entries = await readElements(backend, x, first, size);
  const made = await readElements(backend, y, first, size);
  y.dispose();
  let [worst, largest] = [0, 0];
  for (const row of new Set([0, tokens >> 1, tokens - 1])) {
    const sums = new Float64Array(columns);
    for (let j = 0; j < tokens; j++) {
      const factor = own[j - row + tokens - 1] as number;
      for (let d = 0; d < columns; d++)
        sums[d] = (sums[d] as number) + factor * (entries[j * columns + d] as number);
    }
    for (const [d, sum] of sums.entries()) {
      worst = Math.max(worst, Math.abs(sum - (made[row * columns + d] as number)));
      largest = Math.max(largest, Math.abs(sum));
    }
  }
  return worst / largest;
}

const tokens = values.tokens.split(',').map(Number);
const found = [
  ...(await measured(true, tokens)),
  ...(await measured(
    false,
    tokens.filter((one) => one <= Number(values.composed)),
  )),
];
console.log(`${heads} heads, ${columns} columns, ms on the device\n`);
console.log(
  markdownTable([
    ['tokens', 'path', 'product', 'gradients', 'error'],
    ...found.map(({ tokens: length, path, productMs, gradientMs, error }) => [
      length.toLocaleString('en-US'),
      path,
      productMs.toFixed(3),
      gradientMs.toFixed(3),
      error.toExponential(1),
    ]),
  ]),
);
for (const { tokens: length, path, kernels } of found) {
  const parts = Object.entries(kernels).map(([name, ms]) => `${name} ${ms.toFixed(3)}`);
  if (path === 'fused') console.error(`${length} gradients: ${parts.join(', ')}`);
}
if (values.out !== undefined) writeFileSync(values.out, JSON.stringify(found, undefined, 2));
