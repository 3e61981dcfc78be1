// `pnpm bench training-parts --backend webgpu`: parts of a training step by themselves.
import { parseArgs } from 'node:util';
import { type EncoderSizes, encoderParameters } from '@topk-attention/bench-kit';
import { fill, scatterAddRows, type Tensor, tensor } from '@topk-attention/core';
import { adafactor, disposeParameters, type ParameterTree } from '@topk-attention/nn';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { type Timing, time } from './clock.js';
import { DAWN_OPTIONS } from './dawn-options.js';
import { markdownTable } from './print-table.js';

const usage = `pnpm bench training-parts --backend webgpu [options]

  --parts a,b     adafactor: a step of the parameters of small and of three layers of base, in few launches and by ops
                  tables: gradients of embeddings, tokens at random or one id in 95 % of them  (default both)
  --tables a,b    rows x width x tokens    (default 256x64x32768,32128x768x2048,32128x768x32768,250112x768x2048)
  --rounds n      timed rounds                                                                 (default 12)
  --tiny          small parameters, for a trial`;

const { values } = parseArgs({
  options: {
    backend: { type: 'string' },
    parts: { type: 'string', default: 'adafactor,tables' },
    tables: { type: 'string', default: '256x64x32768,32128x768x2048,32128x768x32768,250112x768x2048' },
    rounds: { type: 'string', default: '12' },
    tiny: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const rounds = Number(values.rounds);
const parts = values.parts.split(',');
const timed = ({ ms, fastest, slowest, by }: Timing): string =>
  `${ms.toFixed(3)} (${fastest.toFixed(3)} to ${slowest.toFixed(3)}${by === 'GPU timestamps' ? '' : `, ${by}`})`;

interface Step {
  readonly timing: Timing;
  readonly launches: number;
  /** Parameters after a step. */
  readonly values: readonly ArrayLike<number>[];
}

async function adafactorStep(backend: WebGpuBackend, sizes: EncoderSizes): Promise<Step> {
  const optimizer = adafactor();
  const parameters = encoderParameters(backend, sizes);
  const gradients: ParameterTree = encoderParameters(backend, sizes);
  const state = optimizer.init(parameters);
  const step = (): ParameterTree => {
    const next = optimizer.step(parameters, gradients, state);
    disposeParameters(next.state.tensors);
    return next.parameters;
  };
  await backend.stream.finish();
  const { launches } = backend.stream.counts;
  const next = step();
  await backend.stream.finish();
  const made = backend.stream.counts.launches - launches;
  const got = await Promise.all(Object.values(next).map((one) => one.data()));
  disposeParameters(next);
  const timing = await time(
    backend,
    () => {
      const again = step();
      return () => disposeParameters(again);
    },
    { rounds },
  );
  for (const tree of [parameters, gradients, state.tensors]) disposeParameters(tree);
  backend.stream.pool.trim();
  return { timing, launches: made, values: got.map((one) => one as Float32Array) };
}

/** Largest difference of parameters, relative to the largest of their tensor. */
function apart(a: Step, b: Step): number {
  return Math.max(
    ...a.values.map((values, at) => {
      const others = b.values[at] as ArrayLike<number>;
      let [difference, largest] = [0, Number.MIN_VALUE];
      for (let i = 0; i < values.length; i++) {
        difference = Math.max(difference, Math.abs((values[i] as number) - (others[i] as number)));
        largest = Math.max(largest, Math.abs(values[i] as number));
      }
      return difference / largest;
    }),
  );
}

async function tableGradient(
  backend: WebGpuBackend,
  [rows, width, tokens]: readonly [number, number, number],
  isHot: boolean,
): Promise<{ readonly timing: Timing; readonly launches: number }> {
  const ids = Int32Array.from({ length: tokens }, (_, i) => {
    const random = Math.imul(i + 1, 0x9e3779b1) >>> 0;
    return isHot && i % 20 > 0 ? 7 : random % rows;
  });
  const indices = tensor(backend, ids, [1, tokens], 'i32');
  const updates = fill(backend, 1, [1, tokens, width]);
  const run = (): Tensor => scatterAddRows(rows, indices, updates);
  await backend.stream.finish();
  const { launches } = backend.stream.counts;
  const sums = (await run().data()) as Float32Array;
  const made = backend.stream.counts.launches - launches;
  const expected = new Float32Array(rows);
  for (const id of ids) expected[id] = (expected[id] as number) + 1;
  // Whole numbers: exact in any order.
  if (sums.some((sum, at) => sum !== expected[Math.floor(at / width)])) throw new Error('wrong sums');
  const timing = await time(
    backend,
    () => {
      const out = run();
      return () => out.dispose();
    },
    { rounds },
  );
  for (const one of [indices, updates]) one.dispose();
  backend.stream.pool.trim();
  return { timing, launches: made };
}

const open = (fused: boolean): Promise<WebGpuBackend> =>
  createWebGpuBackend({ dawnOptions: DAWN_OPTIONS.plain, onWarning: () => {}, fused });
const backend = await open(true);
console.log(
  `${backend.facts.description}, node ${process.version}, ${new Date().toISOString().slice(0, 10)}`,
);
if (parts.includes('adafactor')) {
  const byOps = await open(false);
  const common = { vocabulary: 256, classes: 10, batch: 1, tokens: values.tiny ? 16 : 1024 };
  const models: Readonly<Record<string, EncoderSizes>> = {
    small: { ...common, layers: 2, width: 64, heads: 2, hidden: 128 },
    ...(!values.tiny && {
      'three layers of base': { ...common, layers: 3, width: 768, heads: 12, hidden: 3072 },
    }),
  };
  const lines = [['parameters of', 'launches by ops', 'ms', 'launches', 'ms', 'apart']];
  for (const [name, sizes] of Object.entries(models)) {
    const [before, now] = [await adafactorStep(byOps, sizes), await adafactorStep(backend, sizes)];
    lines.push([
      name,
      ...[String(before.launches), timed(before.timing)],
      ...[String(now.launches), timed(now.timing)],
      apart(before, now).toExponential(1),
    ]);
    const kernels = Object.entries(now.timing.kernels).map(([kernel, ms]) => `${kernel} ${ms.toFixed(3)}`);
    console.error(`${name}: ${kernels.join(', ')}`);
  }
  console.log(`\nAdafactor, a step\n\n${markdownTable(lines)}`);
  await byOps.dispose();
}
if (parts.includes('tables')) {
  const lines = [['table', 'tokens', 'ids', 'launches', 'ms']];
  for (const text of values.tables.split(',')) {
    const sizes = text.split('x').map(Number) as [number, number, number];
    for (const isHot of [false, true]) {
      const { timing, launches } = await tableGradient(backend, sizes, isHot);
      const ids = isHot ? 'one in 95 %' : 'random';
      lines.push([`[${sizes[0]}, ${sizes[1]}]`, String(sizes[2]), ids, String(launches), timed(timing)]);
      console.error(lines.at(-1)?.join(' | '));
    }
  }
  console.log(`\nGradients of tables\n\n${markdownTable(lines)}`);
}
await backend.dispose();
