import type { DType, Shape } from '@topk-attention/core';
import type {
  FusedOperation,
  NormBackwardInputs,
  NormGradients,
  NormInputs,
  NormOutputs,
  NormRequest,
} from '@topk-attention/core/backend';
import { wholeOf } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import {
  loadHalf,
  MOST_COLUMNS,
  PARTS_INVOCATIONS,
  partsGrid,
  partsOf,
  partsSource,
  recordTotals,
} from './column-sums.js';
import { helperText } from './elementwise-wgsl.js';
import { ENTRY, rowStart, stored, unitsText } from './norm-text.js';
import { lanesOf, ROW_INVOCATIONS } from './row-lanes.js';

/** Elements of a row for each invocation. */
const eachOf = (half: boolean): number => (half ? 8 : 4);

type Allocate = (shape: Shape, dtype: DType) => WebGpuTensor;
type Kind = NormRequest['kind'];

/** Norms of rows in one pass, in f32. */
export function norms(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
): FusedOperation<NormRequest, NormInputs<WebGpuTensor>, NormOutputs<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const { kind, rows, width, epsilon, hasBias, dtype } = request;
      const half = dtype === 'f16';
      const lanes = lanesOf(width, eachOf(half));
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: `one pass, ${lanes} invocations a row` }),
        run({ x, weight, bias }) {
          const output = allocate([rows, width], dtype);
          forwardKernel({ kind, lanes, half, hasBias }).launch(stream, {
            uniforms: { rows, width, epsilon },
            buffers: { x: x.span, weight: weight.span, bias: bias?.span, out: output.span },
            workgroups: { invocations: rows * lanes },
          });
          return { output };
        },
      };
    },
  };
}

/** Their gradients: rows first, then sums over rows in two steps, always in the same order. */
export function normGradients(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
): FusedOperation<NormRequest, NormBackwardInputs<WebGpuTensor>, NormGradients<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const { rows, width, hasBias, dtype } = request;
      const parts = partsOf(rows);
      const scratchBytes = 8 * rows + (hasBias ? 8 : 4) * parts * width;
      return {
        scratchBytes: () => scratchBytes,
        describe: () => ({ variant: `rows, then sums of ${parts} parts` }),
        run({ x, weight, dOutput }) {
          const made = {
            x: allocate([rows, width], dtype),
            weight: allocate([width], dtype),
            ...(hasBias && { bias: allocate([width], dtype) }),
          };
          const statistics = stream.scratch(8 * rows);
          recordRows(stream, request, { x, weight, dOutput, dX: made.x, statistics });
          recordSums(stream, request, { ...made, x, dOutput, statistics }, parts);
          stream.release(statistics);
          return made;
        },
      };
    },
  };
}

interface RowBuffers {
  readonly x: WebGpuTensor;
  readonly weight: WebGpuTensor;
  readonly dOutput: WebGpuTensor;
  readonly dX: WebGpuTensor;
  readonly statistics: Span;
}

function recordRows(
  stream: Stream,
  { kind, rows, width, epsilon, dtype }: NormRequest,
  buffers: RowBuffers,
): void {
  const { x, weight, dOutput, dX, statistics } = buffers;
  const half = dtype === 'f16';
  const lanes = lanesOf(width, eachOf(half));
  rowsKernel({ kind, lanes, half }).launch(stream, {
    uniforms: { rows, width, epsilon },
    buffers: { x: x.span, weight: weight.span, d_output: dOutput.span, d_x: dX.span, statistics },
    workgroups: { invocations: rows * lanes },
  });
}

interface SumBuffers {
  readonly x: WebGpuTensor;
  readonly dOutput: WebGpuTensor;
  readonly statistics: Span;
  readonly weight: WebGpuTensor;
  readonly bias?: WebGpuTensor;
}

function recordSums(
  stream: Stream,
  { rows, width, hasBias, dtype }: NormRequest,
  { x, dOutput, statistics, weight, bias }: SumBuffers,
  parts: number,
): void {
  // In a row, sums for the weight, then those for the bias.
  const columns = hasBias ? 2 * width : width;
  const sums = stream.scratch(4 * parts * columns);
  const uniforms = { rows, width, rows_per_part: Math.ceil(rows / parts) };
  partsKernel({ hasBias, half: dtype === 'f16' }).launch(stream, {
    uniforms,
    buffers: { x: x.span, d_output: dOutput.span, statistics, sums },
    workgroups: partsGrid(parts, width),
  });
  const second = bias && wholeOf(bias.span);
  recordTotals(stream, sums, wholeOf(weight.span), parts, columns, dtype === 'f16', second);
  stream.release(sums);
}

function refusalsOf({ dtype, rows, width, epsilon }: NormRequest, facts: DeviceFacts): readonly string[] {
  const refusals: string[] = [];
  if (dtype !== 'f32' && dtype !== 'f16') refusals.push(`${dtype}: made for f32 and f16`);
  if (dtype === 'f16' && width % 2 === 1) refusals.push('rows of an odd number of halves');
  if (!(epsilon > 0)) refusals.push('an epsilon of 0: a row of equal numbers divides by 0');
  if (width > MOST_COLUMNS) refusals.push(`rows of more than ${MOST_COLUMNS} numbers`);
  if (4 * rows * Math.max(2, width) > facts.bindingBytes) {
    refusals.push(`a tensor exceeds a binding of ${facts.bindingBytes} bytes`);
  }
  return refusals;
}

const rowUniforms = { rows: 'u32', width: 'u32', epsilon: 'f32' } as const;

interface RowVariant {
  readonly kind: Kind;
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Tensors of f16. */
  readonly half: boolean;
}

const forwardKernel = kernelFamily(
  'norm',
  ({ kind, lanes, half, hasBias }: RowVariant & { readonly hasBias: boolean }) => ({
    uniforms: rowUniforms,
    buffers: {
      x: read(stored(half)),
      weight: read(stored(half)),
      bias: optional(hasBias, read(stored(half))),
      out: write(stored(half)),
    },
    workgroup: ROW_INVOCATIONS,
    source: () => `${unitsText(half, ['x', 'weight', ...(hasBias ? ['bias'] : [])])}
${rowStart(kind, lanes)}
${ENTRY}
  for (var at = row.start; at < row.end; at += LANES) {
    let column = at % (params.width / UNIT);
    let unit = (get_x(at) - row.mean) * row.scale;
    out[at] = put(unit * get_weight(column)${hasBias ? ' + get_bias(column)' : ''});
  }
}`,
  }),
);

const rowsKernel = kernelFamily('norm-gradient rows', ({ kind, lanes, half }: RowVariant) => ({
  uniforms: rowUniforms,
  buffers: {
    x: read(stored(half)),
    weight: read(stored(half)),
    d_output: read(stored(half)),
    d_x: write(stored(half)),
    statistics: write('vec2f'),
  },
  workgroup: ROW_INVOCATIONS,
  source: () => `${unitsText(half, ['x', 'weight', 'd_output'])}
${rowStart(kind, lanes)}
${ENTRY}
  var sum = 0.0;
  var along = 0.0;
  for (var at = row.start; at < row.end; at += LANES) {
    let g = get_d_output(at) * get_weight(at % (params.width / UNIT));
    sum += total_of(g);
    along += total_of(g * (get_x(at) - row.mean) * row.scale);
  }
  ${kind === 'layer' ? 'let mean_g = row_sum(local, sum) / f32(params.width);' : 'let mean_g = 0.0;'}
  let mean_along = row_sum(local, along) / f32(params.width);
  for (var at = row.start; at < row.end; at += LANES) {
    let g = get_d_output(at) * get_weight(at % (params.width / UNIT));
    let unit = (get_x(at) - row.mean) * row.scale;
    d_x[at] = put(row.scale * (g - mean_g - unit * mean_along));
  }
  if (local % LANES == 0u && row_at < params.rows) { statistics[row_at] = vec2f(row.mean, row.scale); }
}`,
}));

interface PartsVariant {
  readonly hasBias: boolean;
  readonly half: boolean;
}

/** Sums over the rows of parts: of the gradient, and of the gradient times the units of x. */
const partsKernel = kernelFamily('norm-gradient parts', ({ hasBias, half }: PartsVariant) => ({
  uniforms: { rows: 'u32', width: 'u32', rows_per_part: 'u32' },
  buffers: {
    x: read(stored(half)),
    d_output: read(stored(half)),
    statistics: read('vec2f'),
    sums: write('f32'),
  },
  workgroup: PARTS_INVOCATIONS,
  source: () =>
    `${half ? `${helperText(['halfToBits'])}\n${loadHalf('x')}\n${loadHalf('d_output')}` : ''}
${partsSource(
  'vec2f',
  `let g = ${half ? 'load_d_output(at)' : 'd_output[at]'};
      let of_row = statistics[row];
      sum += vec2f(g * (${half ? 'load_x(at)' : 'x[at]'} - of_row.x) * of_row.y, g);`,
  hasBias
    ? `let at = workgroup.y * 2u * params.width + column;
  sums[at] = sum.x;
  sums[at + params.width] = sum.y;`
    : 'sums[place] = sum.x;',
)}`,
}));
