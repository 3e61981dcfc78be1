import { explain } from '@topk-attention/core';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { AttentionCase, type AttentionShape } from './attention-case.js';
import { extraBytes, type Timing, time } from './clock.js';
import { DAWN_OPTIONS } from './dawn-options.js';

export interface AttentionBenchOptions {
  readonly lengths: readonly number[];
  readonly ks: readonly number[];
  readonly headDims: readonly number[];
  readonly dtypes: readonly ('f32' | 'f16')[];
  readonly heads: number;
  readonly causal: boolean;
  readonly backward: boolean;
  /** Undefined: 20, and 1 on a software adapter. */
  readonly rounds: number | undefined;
  /** True in Node, where Dawn's switches can be set; a browser has its own. */
  readonly hasDawn: boolean;
}

export interface BenchRow {
  readonly method: string;
  readonly pass: 'forward' | 'forward + backward';
  readonly length: number;
  /** Undefined: all keys. */
  readonly k: number | undefined;
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly ms: number;
  readonly timing: Timing;
  /** Peak bytes in use beyond inputs, outputs and, for training, 8 k bytes per query and head. */
  readonly extraBytes: number;
  /** Relative error of sampled rows against f64. */
  readonly error: number;
  /** The path that ran. */
  readonly path: string;
}

export interface SkippedRow {
  readonly method: string;
  readonly length?: number;
  readonly reason: string;
}

export interface BenchReport {
  readonly adapter: string;
  readonly isSoftware: boolean;
  readonly rows: readonly BenchRow[];
  readonly skipped: readonly SkippedRow[];
}

interface Method {
  readonly name: string;
  readonly backend: WebGpuBackend;
  readonly isDense: boolean;
}

const TOLERANCE = { f32: 1e-5, f16: 2e-3 } as const;
/** A composed call writes and reads every score several times; longer ones take minutes. */
const LONGEST_COMPOSED = 32_768;

/** Checks each method against f64, then times it, for every combination of the options. */
export async function runAttentionBench(
  options: AttentionBenchOptions,
  log: (text: string) => void = () => {},
): Promise<BenchReport> {
  const quiet = { onWarning: (): void => {} };
  const open = (mode: 'plain' | 'tensor', more: object = {}): Promise<WebGpuBackend> =>
    createWebGpuBackend({
      ...quiet,
      ...(options.hasDawn && { dawnOptions: DAWN_OPTIONS[mode] }),
      ...more,
    });
  const skipped: SkippedRow[] = [];
  const rows: BenchRow[] = [];
  const plain = await open('plain');
  const composed = await open('plain', { fused: false });
  const backends = [plain, composed];
  const methods: Method[] = [{ name: 'top-k, plain', backend: plain, isDense: false }];
  const tensor = options.hasDawn ? await open('tensor') : undefined;
  const matrices = 'chromium-experimental-subgroup-matrix';
  if (tensor?.facts.features.has(matrices)) {
    backends.push(tensor);
    methods.push({ name: 'top-k, tensor', backend: tensor, isDense: false });
  } else {
    await tensor?.dispose();
    skipped.push({ method: 'top-k, tensor', reason: `the adapter does not offer ${matrices}` });
  }
  methods.push({ name: 'dense exact', backend: plain, isDense: true });
  methods.push({ name: 'composed of primitives', backend: composed, isDense: false });

  for (const shape of shapesOf(options)) {
    for (const { name, backend, isDense } of methods) {
      if (isDense && shape.k !== options.ks[0]) continue;
      if (backend === composed && shape.length > LONGEST_COMPOSED) {
        skipped.push({
          method: name,
          length: shape.length,
          reason: `not run above ${LONGEST_COMPOSED} keys`,
        });
        continue;
      }
      const own: AttentionShape = { ...shape, k: isDense ? undefined : shape.k };
      for (const pass of options.backward && !isDense
        ? (['forward', 'forward + backward'] as const)
        : (['forward'] as const)) {
        try {
          const row = { method: name, ...(await measure(backend, own, pass, options.rounds)) };
          rows.push(row);
          log(`${name}, ${pass}, L ${row.length}, k ${row.k ?? 'all'}: ${row.ms.toFixed(3)} ms, ${row.path}`);
        } catch (error) {
          skipped.push({ method: `${name}, ${pass}`, length: shape.length, reason: messageOf(error) });
          log(`${name}, ${pass}, L ${shape.length}: ${messageOf(error)}`);
        }
      }
    }
  }
  const { facts } = plain;
  for (const backend of backends) await backend.dispose();
  return {
    adapter: [facts.vendor, facts.architecture, facts.description].filter((part) => part !== '').join(' '),
    isSoftware: facts.isSoftware,
    rows,
    skipped,
  };
}

function* shapesOf(options: AttentionBenchOptions): Generator<AttentionShape> {
  const { lengths, ks, headDims, dtypes, heads, causal } = options;
  for (const length of lengths) {
    for (const dim of headDims) {
      for (const dtype of dtypes) {
        for (const k of ks) yield { heads, length, dim, k, causal, dtype, isClustered: false };
      }
    }
  }
}

async function measure(
  backend: WebGpuBackend,
  shape: AttentionShape,
  pass: BenchRow['pass'],
  wantedRounds: number | undefined,
): Promise<Omit<BenchRow, 'method'>> {
  const { isSoftware } = backend.facts;
  const rounds = wantedRounds ?? (isSoftware ? 1 : 20);
  const isTraining = pass !== 'forward';
  const one = await AttentionCase.make(backend, shape);
  try {
    const checked = isTraining ? await one.checkGradients() : await one.check();
    if (!(checked.error <= TOLERANCE[shape.dtype]) || (checked.wrongSets ?? 0) > 0) {
      throw new Error(
        `wrong result: error ${checked.error.toExponential(1)}, ${checked.wrongSets ?? 0} wrong sets of ${checked.rows} rows`,
      );
    }
    const run = isTraining ? () => one.training() : () => one.forward();
    const outputs = isTraining ? 4 * one.outputBytes + one.listBytes : one.outputBytes;
    const extra = await extraBytes(backend, run, outputs);
    const timing = await time(backend, run, { rounds, heatMs: isSoftware ? 0 : 300 });
    const { length, k, dim: headDim, dtype } = shape;
    return {
      ...{ pass, length, k, headDim, dtype },
      ms: timing.ms,
      timing,
      extraBytes: extra,
      error: checked.error,
      path: describePath(backend, shape, isTraining),
    };
  } finally {
    one.dispose();
    await backend.stream.finish().catch(() => {});
  }
}

/** The path and its variant, as reported by `explain`. */
export function describePath(backend: WebGpuBackend, shape: AttentionShape, training: boolean): string {
  const { heads, length, dim, k, causal } = shape;
  const rows = [1, heads, length, dim];
  const explained = explain(
    backend,
    { q: rows, k: rows, v: rows },
    { causal, training, ...(k !== undefined && { k }) },
  );
  const variant = explained
    .toString()
    .split('\n')
    .find((line) => line.startsWith('variant'));
  // After the first semicolon: why other paths do not run.
  return variant === undefined
    ? explained.path
    : (variant.replace(/^variant\s+/, '').split(';')[0] as string);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
