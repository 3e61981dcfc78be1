import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { AttentionCase } from './attention-case.js';
import { DAWN_OPTIONS, type Mode } from './dawn-options.js';
import { type OnnxAttentionRow, onnxAttention } from './onnx-attention.js';
import { markdownTable } from './print-table.js';

/** A call of ours, host time included: the mean of calls in a row. */
interface OwnRow {
  readonly tokens: number;
  readonly causal: boolean;
  readonly mode: Mode;
  /** Undefined: all keys. */
  readonly k: number | undefined;
  readonly ms: number;
  readonly error: number;
}

interface Shape {
  readonly heads: number;
  readonly dim: number;
  readonly tokens: readonly number[];
  readonly k: number;
  readonly calls: number;
}

export interface BesideOnnx {
  readonly onnx: readonly OnnxAttentionRow[];
  readonly own: readonly OwnRow[];
}

/** Highest relative error against f64 of what may be timed. */
const TOLERANCE = 1e-5;
/** Calls in flight at a time. */
const BATCH = 5;

/** Our attention, and ONNX Runtime's own on WebGPU at the same lengths. Each engine has the GPU for itself. */
export async function besideOnnx(shape: Shape): Promise<BesideOnnx> {
  const own: OwnRow[] = [];
  for (const mode of ['plain', 'tensor'] as const) {
    const backend = await createWebGpuBackend({ dawnOptions: DAWN_OPTIONS[mode], onWarning: () => {} });
    for (const length of shape.tokens) {
      for (const causal of [true, false]) {
        // Exact attention has no use for matrix units.
        for (const k of mode === 'plain' ? [shape.k, undefined] : [shape.k]) {
          own.push(await measure(backend, mode, { ...shape, length, causal, k }));
        }
      }
    }
    await backend.dispose();
  }
  const onnx = await onnxAttention({
    ...shape,
    rounds: 3,
    log: ({ tokens, dtype, causal, ms, error, failure }) =>
      console.error(
        `ONNX Runtime, ${tokens}, ${dtype}, ${causal ? 'causal' : 'not'}: ${failure ?? `${ms.toFixed(2)} ms, error ${error.toExponential(1)}`}`,
      ),
  });
  return { onnx, own };
}

async function measure(
  backend: WebGpuBackend,
  mode: Mode,
  shape: Pick<Shape, 'heads' | 'dim' | 'calls'> & {
    readonly length: number;
    readonly causal: boolean;
    readonly k: number | undefined;
  },
): Promise<OwnRow> {
  const { calls, ...rest } = shape;
  const one = await AttentionCase.make(backend, { ...rest, dtype: 'f32', isClustered: false });
  try {
    const { error, wrongSets = 0 } = await one.check({ heads: [0], rowsOfHead: 4 });
    const what = `${mode}, ${shape.length}, k ${shape.k}, ${shape.causal ? 'causal' : 'not'}`;
    if (!(error <= TOLERANCE) || wrongSets > 0)
      throw new Error(`${what}: error ${error}, ${wrongSets} wrong sets`);
    let [whole, made] = [0, 0];
    // The first batch warms up the clocks and the engine's compiler.
    for (let round = -BATCH; round < calls; round += BATCH) {
      const from = performance.now();
      for (let at = 0; at < BATCH; at++) {
        const free = one.forward();
        backend.flush();
        free();
      }
      await backend.stream.finish();
      if (round < 0) continue;
      whole += performance.now() - from;
      made += BATCH;
    }
    const ms = whole / made;
    console.error(`${what}: ${ms.toFixed(2)} ms, error ${error.toExponential(1)}`);
    return { tokens: shape.length, causal: shape.causal, mode, k: shape.k, ms, error };
  } finally {
    one.dispose();
    backend.stream.pool.trim();
  }
}

/** A row for each length, causal and not. */
export function besideOnnxTable(
  { onnx, own }: BesideOnnx,
  { tokens, k }: Pick<Shape, 'tokens' | 'k'>,
): string {
  const rows = tokens.flatMap((length) =>
    [true, false].map((causal) => {
      const ofOnnx = (dtype: OnnxAttentionRow['dtype']): string => {
        const row = onnx.find((one) => one.tokens === length && one.causal === causal && one.dtype === dtype);
        if (row === undefined) return '';
        return row.failure === undefined ? row.ms.toFixed(2) : 'failed';
      };
      const ofOwn = (mode: Mode, kept: number | undefined): string =>
        own
          .find(
            (one) => one.tokens === length && one.causal === causal && one.mode === mode && one.k === kept,
          )
          ?.ms.toFixed(2) ?? '';
      return [
        length.toLocaleString('en-US'),
        causal ? 'yes' : 'no',
        ofOnnx('f32'),
        ofOnnx('f16'),
        ofOwn('plain', undefined),
        ofOwn('plain', k),
        ofOwn('tensor', k),
      ];
    }),
  );
  return markdownTable([
    [
      'tokens',
      'causal',
      'ONNX Runtime, f32',
      'ONNX Runtime, f16',
      '`exactAttention`, plain',
      `\`topKAttention\`, k ${k}, plain`,
      `\`topKAttention\`, k ${k}, tensor`,
    ],
    ...rows,
  ]);
}
