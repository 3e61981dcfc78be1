import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type Backend, evaluate, type Tensor } from '@topk-attention/core';
import type { EncoderSizes } from './encoder.js';
import { apart, type TorchLine, torchLines } from './torch.js';
import { encoderTraining } from './training-run.js';

const SMALL = { layers: 2, width: 64, heads: 2, hidden: 128, vocabulary: 256, classes: 10 };
/** The losses of top-k attention and of torch's agree to this, relative, over the compared steps. */
const TOLERANCE = 1e-3;

/** A backend to measure. A process measures one. */
export interface BenchedBackend {
  /** Engine, version and threads. */
  readonly description: string;
  readonly backend: Backend;
}

interface MeasuredTraining {
  /** Of the timed steps. */
  readonly medianMs: number;
  readonly leastMs: number;
  readonly mostMs: number;
  /** Peak of the bytes of live tensors, if the backend counts it. */
  readonly peakBytes: number | undefined;
  readonly losses: readonly number[];
}

const usage = (
  backend: string,
  engines: readonly string[],
): string => `pnpm bench training --backend ${backend} [options]

Whole training steps of a small encoder with a classifier (2 layers of width 64, 2 heads, 128 hidden units), with AdamW,
in f32: exact and top-k attention, beside torch on the same CPU if python3 (or TOPK_PYTHON) has it.

  --tokens a,b    lengths                              (default 256,1024)
  --k n           keys kept by top-k                   (default 64)
  --batch n       texts in a step                      (default 4)
  --steps n       timed steps                          (default 5)
  --losses n      steps before, whose losses are compared with torch's (default 5)
  --rate n        learning rate                        (default 1e-4)
  --threads n     threads of the engine and of torch   (default 2, or the cores there are)${
    engines.length > 1
      ? `
  --engine name   ${engines.join(', ')}                 (default ${engines[0]})`
      : ''
  }
  --rounding      exact attention of torch also in f64, and in f32 from weights a rounding away
  --no-torch      leave torch out`;

/**
 * The command line of `bench/training.ts` of a backend that runs on the CPU: prints a Markdown table. The losses of the
 * first steps are compared with torch's before a step is timed.
 *
 * @param engines names for `--engine`; the first is the default
 * @returns the exit code: 0, or 1 if losses are further apart than 1e-3, or 2 for wrong usage
 */
export async function benchTraining(
  name: string,
  engines: readonly string[],
  create: (engine: string, threads: number) => Promise<BenchedBackend>,
): Promise<number> {
  const { values } = parseArgs({
    options: {
      backend: { type: 'string' },
      engine: { type: 'string', default: engines[0] ?? '' },
      tokens: { type: 'string', default: '256,1024' },
      k: { type: 'string', default: '64' },
      batch: { type: 'string', default: '4' },
      steps: { type: 'string', default: '5' },
      losses: { type: 'string', default: '5' },
      rate: { type: 'string', default: '1e-4' },
      threads: { type: 'string', default: String(Math.min(2, availableParallelism())) },
      rounding: { type: 'boolean', default: false },
      'no-torch': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help || !engines.includes(values.engine)) {
    console.log(usage(name, engines));
    return values.help ? 0 : 2;
  }
  const [k, batch, steps, losses] = [values.k, values.batch, values.steps, values.losses].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const [rate, threads] = [Number(values.rate), Number(values.threads)];
  const lengths = values.tokens.split(',').map(Number);
  const torch = values['no-torch']
    ? []
    : torchLines({
        ...{ model: 'small', batch, tokens: lengths, steps, losses, rate, device: 'cpu', threads, k },
        rounding: values.rounding,
      });
  const { backend, description } = await create(values.engine, threads);
  const beside = torch[0] === undefined ? '' : `; torch ${torch[0].torch}, ${threads} threads`;
  console.log(`\nsmall, batch ${batch}, ${description}${beside}, ${new Date().toISOString().slice(0, 10)}\n`);
  console.log(
    '| tokens | attention | ms a step | least to most | peak MiB of tensors | torch, ms | losses apart | from f64 |',
  );
  console.log('|---:|---|---:|---:|---:|---:|---:|---:|');
  let isClose = true;
  for (const tokens of lengths) {
    const sizes = { ...SMALL, batch, tokens };
    const [f32, f64, nudged] = ['f32', 'f64', 'f32 nudged'].map((column) =>
      torch.find((one) => one.tokens === tokens && one.column === column),
    );
    for (const kept of [undefined, k]) {
      const got = await measure(backend, sizes, kept, { steps, losses, rate });
      const line = torch.find((one) => one.tokens === tokens && one.column === columnOf(kept));
      const difference = line && apart(got.losses, line.losses);
      isClose &&= difference === undefined || difference <= TOLERANCE;
      const rounded = kept === undefined && f64 ? apart(got.losses, f64.losses) : undefined;
      console.log(`| ${cells(tokens, kept, got, line, [difference, rounded]).join(' | ')} |`);
      console.error(
        `${columnOf(kept)} ${tokens}: losses ${got.losses.map((one) => one.toFixed(5)).join(' ')}`,
      );
    }
    for (const line of [f32, nudged]) {
      if (line === undefined || f64 === undefined) continue;
      const differences = [f32, f64].map((other) =>
        other && other !== line ? apart(line.losses, other.losses) : undefined,
      );
      console.log(
        `| ${tokens} | torch, ${line.column} | | | | ${line.ms.toFixed(0)} | ${differences.map(shortly).join(' | ')} |`,
      );
    }
  }
  await backend.dispose();
  if (!isClose) console.error(`Losses are more than ${TOLERANCE} apart from torch's.`);
  return isClose ? 0 : 1;
}

/** The name of torch's column. */
const columnOf = (k: number | undefined): string => (k === undefined ? 'f32' : `top-k ${k}`);

function cells(
  tokens: number,
  k: number | undefined,
  { medianMs, leastMs, mostMs, peakBytes }: MeasuredTraining,
  torch: TorchLine | undefined,
  differences: readonly (number | undefined)[],
): string[] {
  return [
    tokens.toLocaleString('en'),
    k === undefined ? 'exact' : `top-k ${k}`,
    medianMs.toFixed(0),
    `${leastMs.toFixed(0)} to ${mostMs.toFixed(0)}`,
    peakBytes === undefined ? '' : (peakBytes / 2 ** 20).toFixed(0),
    torch?.ms.toFixed(0) ?? '',
    ...differences.map(shortly),
  ];
}

const shortly = (difference: number | undefined): string => difference?.toExponential(1) ?? '';

async function measure(
  backend: Backend,
  sizes: EncoderSizes,
  k: number | undefined,
  { steps, losses, rate }: { readonly steps: number; readonly losses: number; readonly rate: number },
): Promise<MeasuredTraining> {
  const run = encoderTraining(backend, sizes, { k, rate, isRecorded: false });
  const make = async (index: number): Promise<number> => {
    const loss = run.step(index);
    try {
      return await finished(loss, run.state());
    } finally {
      loss.dispose();
    }
  };
  try {
    const compared: number[] = [];
    for (let index = 0; index < losses; index++) compared.push(await make(index));
    backend.resetPeak();
    const times: number[] = [];
    for (let index = 0; index < steps; index++) {
      const from = performance.now();
      await make(losses + index);
      times.push(performance.now() - from);
    }
    times.sort((a, b) => a - b);
    return {
      medianMs: times[Math.floor(times.length / 2)] ?? Number.NaN,
      leastMs: times[0] ?? Number.NaN,
      mostMs: times.at(-1) ?? Number.NaN,
      peakBytes: backend.memory().peak,
      losses: compared,
    };
  } finally {
    run.dispose();
  }
}

/** Waits for a step, and reads its loss. A lazy backend ends its graph here. */
async function finished(loss: Tensor, state: readonly Tensor[]): Promise<number> {
  await evaluate(loss, ...state);
  return (await loss.data())[0] as number;
}
