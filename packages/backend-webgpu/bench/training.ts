// `pnpm bench training --backend webgpu`: whole training steps, next to torch if python3 has it.
import { parseArgs } from 'node:util';
import {
  apart,
  type EncoderSizes,
  encoderTraining,
  type TorchLine,
  torchLines,
} from '@topk-attention/bench-kit';
import type { Tensor } from '@topk-attention/core';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { time } from './clock.js';
import { DAWN_OPTIONS, type Mode } from './dawn-options.js';

const usage = `pnpm bench training --backend webgpu [options]

  --tokens a,b    lengths                              (default 1024,2048,4096)
  --k n           keys kept by top-k                   (default 128)
  --steps n       timed steps                          (default 20)
  --losses n      steps whose losses are compared      (default 20)
  --rate n        learning rate                        (default 1e-3)
  --rounding      torch also in f64, and in f32 from weights a rounding away: how far losses are from those of f64
  --model name    small (2 x 64), base (12 x 768)      (default small)
  --batch n       (default 32 for small, 1 for base)
  --precision p   f32, mixed (f16 in the loss), or both  (default f32)
  --recompute w   no, blocks (run again in the backward pass), or both  (default no)
  --attention a   top-k, exact, or both                (default both)
  --mode m        plain, or tensor: f16 arithmetic and matrix units  (default plain)
  --kernels n     kernels named with their times       (default 16)
  --called        also steps that are not recorded but called each time
  --no-torch      leave torch out`;

/** Steps before those that are timed take this long. */
const HEAT_MS = 400;

const MODELS = {
  small: { layers: 2, width: 64, heads: 2, hidden: 128, batch: 32 },
  base: { layers: 12, width: 768, heads: 12, hidden: 3072, batch: 1 },
} as const;

/** How a step is made. */
interface Way {
  /** Undefined: exact attention. */
  readonly k: number | undefined;
  readonly isRecorded: boolean;
  readonly isMixed: boolean;
  readonly isRecomputed: boolean;
}

interface Measured {
  readonly ms: number;
  /** Time in JavaScript until the step is recorded. */
  readonly hostMs: number;
  readonly launches: number;
  readonly gpuMs: readonly (readonly [kernel: string, ms: number])[];
  readonly peakMiB: number;
  /** What `planStep` said. */
  readonly plannedMiB: number;
  readonly losses: readonly number[];
}

async function measure(
  backend: WebGpuBackend,
  sizes: EncoderSizes,
  way: Way,
  {
    steps,
    losses: compared,
    rate,
  }: { readonly steps: number; readonly losses: number; readonly rate: number },
): Promise<Measured> {
  const training = encoderTraining(backend, sizes, { ...way, rate });
  const plannedMiB = training.planned().peak / 2 ** 20;
  backend.stream.pool.resetPeak();
  const step = (index: number): Tensor => training.step(index);
  const losses: number[] = [];
  for (let index = 0; index < compared; index++) {
    const value = step(index);
    losses.push((await value.data())[0] as number);
    value.dispose();
  }
  // Clocks fall while a model is made.
  const heated = performance.now();
  let index = compared;
  while (performance.now() - heated < HEAT_MS) {
    step(index++).dispose();
    await backend.stream.finish();
  }
  let hostMs = 0;
  const launchesBefore = backend.stream.counts.launches;
  const from = performance.now();
  for (let timed = 0; timed < steps; timed++) {
    const began = performance.now();
    step(index++).dispose();
    backend.flush();
    hostMs += performance.now() - began;
    // Like a training loop that reads its losses late: at most a few steps are in flight.
    if (timed % 4 === 3) await backend.stream.finish();
  }
  await backend.stream.finish();
  const ms = (performance.now() - from) / steps;
  const launches = (backend.stream.counts.launches - launchesBefore) / steps;
  const peakMiB = backend.stream.pool.peakUsedBytes / 2 ** 20;
  const { kernels } = await time(
    backend,
    () => {
      step(index).dispose();
      return () => {};
    },
    { rounds: 2, heatMs: 0 },
  );
  const gpuMs = Object.entries(kernels).sort((a, b) => b[1] - a[1]);
  training.dispose();
  backend.stream.pool.trim();
  return { ms, hostMs: hostMs / steps, launches, gpuMs, peakMiB, plannedMiB, losses };
}

const { values } = parseArgs({
  options: {
    backend: { type: 'string' },
    tokens: { type: 'string', default: '1024,2048,4096' },
    k: { type: 'string', default: '128' },
    steps: { type: 'string', default: '20' },
    losses: { type: 'string', default: '20' },
    rate: { type: 'string', default: '1e-3' },
    rounding: { type: 'boolean', default: false },
    model: { type: 'string', default: 'small' },
    batch: { type: 'string' },
    precision: { type: 'string', default: 'f32' },
    recompute: { type: 'string', default: 'no' },
    attention: { type: 'string', default: 'both' },
    mode: { type: 'string', default: 'plain' },
    kernels: { type: 'string', default: '16' },
    called: { type: 'boolean', default: false },
    'no-torch': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help || !(values.model in MODELS) || !(values.mode in DAWN_OPTIONS)) {
  console.log(usage);
  process.exit(values.help ? 0 : 2);
}
const shape = MODELS[values.model as keyof typeof MODELS];
const batch = Number(values.batch ?? shape.batch);
const [steps, losses, rate] = [Number(values.steps), Number(values.losses), Number(values.rate)];
const lengths = values.tokens.split(',').map(Number);
const torch = values['no-torch']
  ? []
  : torchLines({
      ...{ model: values.model, batch, tokens: lengths, steps, losses, rate },
      rounding: values.rounding,
    });
const backend = await createWebGpuBackend({
  dawnOptions: DAWN_OPTIONS[values.mode as Mode],
  onWarning: () => {},
});
const { description } = backend.facts;
console.log(
  `${values.model}, batch ${batch}, ${values.mode}, ${description}, ${new Date().toISOString().slice(0, 10)}`,
);
console.log(
  '| tokens | attention | ms a step | in JavaScript | launches | on the GPU | peak MiB | planned MiB | losses apart from torch | from its f64 |',
);
console.log('|---|---|---|---|---|---|---|---|---|---|');
for (const tokens of lengths) {
  const sizes = { ...shape, batch, tokens, vocabulary: 256, classes: 10 };
  const ofLength = torch.filter((one) => one.tokens === tokens);
  const [ofF32, ofF64] = ['f32', 'f64'].map((column) => ofLength.find((one) => one.column === column));
  const from = (losses: readonly number[], other: TorchLine | undefined): string =>
    other === undefined ? '' : apart(losses, other.losses).toExponential(1);
  for (const line of ofLength) {
    const apartFrom = [ofF32, ofF64].map((other) => (other === line ? '' : from(line.losses, other)));
    console.log(
      `| ${tokens} | torch ${line.column} | ${line.ms.toFixed(1)} | | | | | | ${apartFrom.join(' | ')} |`,
    );
  }
  const either = (value: string, yes: string): readonly boolean[] =>
    value === 'both' ? [false, true] : [value === yes];
  const columns = either(values.attention, 'exact').flatMap((isExact) =>
    either(values.precision, 'mixed').flatMap((isMixed) =>
      either(values.recompute, 'blocks').flatMap((isRecomputed) =>
        (values.called ? [true, false] : [true]).map(
          (isRecorded): Way => ({
            k: isExact ? undefined : Number(values.k),
            isRecorded,
            isMixed,
            isRecomputed,
          }),
        ),
      ),
    ),
  );
  for (const way of columns) {
    const { k, isRecorded, isMixed, isRecomputed } = way;
    const name = [
      k === undefined ? 'exact' : `top-k ${k}`,
      ...(isMixed ? ['mixed'] : []),
      ...(isRecomputed ? ['recomputed'] : []),
      ...(isRecorded ? [] : ['called']),
    ].join(', ');
    try {
      const got = await measure(backend, sizes, way, { steps, losses, rate });
      const differences = [ofF32, ofF64].map((other) => (k === undefined ? from(got.losses, other) : ''));
      const gpuMs = got.gpuMs.reduce((total, [, ms]) => total + ms, 0);
      const numbers = [got.ms, got.hostMs, got.launches, gpuMs, got.peakMiB, got.plannedMiB].map((one, at) =>
        one.toFixed(at === 2 || at > 3 ? 0 : 1),
      );
      console.log(`| ${tokens} | ${name} | ${numbers.join(' | ')} | ${differences.join(' | ')} |`);
      console.error(`${name} ${tokens}: losses ${got.losses.map((one) => one.toFixed(4)).join(' ')}`);
      if (!isRecorded) continue;
      const parts = got.gpuMs
        .slice(0, Number(values.kernels))
        .map(([kernel, ms]) => `${kernel} ${ms.toFixed(2)}`);
      console.error(`${name} ${tokens}: ms by kernel: ${parts.join(', ')}`);
    } catch (error) {
      console.log(
        `| ${tokens} | ${name} | ${error instanceof Error ? error.message : error} | | | | | | | |`,
      );
    }
  }
}
await backend.dispose();
