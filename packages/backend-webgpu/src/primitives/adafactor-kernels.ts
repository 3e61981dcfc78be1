import type { UnaryOp } from '@topk-attention/core/backend';
import {
  type Buffer,
  type DefinedKernel,
  defineKernel,
  optional,
  read,
  write,
} from '../wgsl/define-kernel.js';
import { range, times } from '../wgsl/text.js';
import { unaryFunction } from './elementwise.js';
import { helperText } from './elementwise-wgsl.js';
import { whichTensor } from './several-tensors.js';

/** Invocations of all kernels of the update. */
export const INVOCATIONS = 256;
/** Rows that a workgroup sums, and the invocations that share one. */
export const ROWS = 16;
const LANES = INVOCATIONS / ROWS;
/** Columns that a workgroup sums over a part of the rows. */
export const COLUMNS = 64;
/** Columns whose parts a workgroup joins. */
export const JOINED_COLUMNS = 16;
/** Most parts of a tensor whose squares are summed, and the elements of a part of a small one. */
export const MOST_PARTS = 256;
export const PART_ELEMENTS = 4096;

/** A kernel for several tensors: how many, and whether gradients are multiplied by a scale. */
interface Variant {
  readonly tensors: number;
  readonly isScaled: boolean;
}

type Row = readonly ['u32', number];
type Rows<Name extends string> = { readonly [name in Name]: Row };
type Storage = Readonly<Record<string, Buffer<false, boolean>>>;

/** `NAME_0`, `NAME_1`, ...: a buffer for each tensor, and `fn NAME_at(which, at)` that reads them. */
function buffersOf(name: string, tensors: number): Storage {
  return Object.fromEntries(range(tensors).map((at) => [`${name}_${at}`, read('f32')]));
}

function loadText(name: string, tensors: number): string {
  return `fn ${name}_at(which: u32, at: u32) -> f32 {
  switch which {
    ${times(tensors, (i) => `case ${i}u: { return ${name}_${i}[at]; }`, '\n    ')}
    default: { return 0.0; }
  }
}`;
}

const gradientText = ({ tensors, isScaled }: Variant): string => `${loadText('raw_gradient', tensors)}
fn gradient_at(which: u32, at: u32) -> f32 { return raw_gradient_at(which, at)${isScaled ? ' * scale[0]' : ''}; }`;

/** Ops as core's have them, NaN and infinities included. */
function opsText(ops: readonly UnaryOp[]): string {
  const functions = ops.map((op) => ({ op, ...unaryFunction(op) }));
  return `${helperText(functions.flatMap(({ helpers }) => helpers))}
${functions
  .map(
    ({ op, text }) =>
      `${text}\nfn ${op}_of(x: f32) -> f32 { return bitcast<f32>(${op}_bits(bitcast<u32>(x))); }`,
  )
  .join('\n')}`;
}

const keyOf = (name: string, { tensors, isScaled }: Variant): string =>
  `adafactor ${name} ${tensors}${isScaled ? ' scaled' : ''}`;

const MAIN = `@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let group = workgroup.x + workgroup.y * groups.x;`;

/** Adds `joined` up, to its first element. */
const treeText = (name: string): string => `workgroupBarrier();
  for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
    if (local < half) { ${name}[local] += ${name}[local + half]; }
    workgroupBarrier();
  }`;

/**
 * Sums of g² + epsilon: of each row, and of each column over parts of the rows, [parts, width] behind the rows' sums. Width 0
 * is a vector, whose elements are rows of one.
 */
export const squaresKernel = (
  variant: Variant,
  partsText: string,
): DefinedKernel<Rows<'first' | 'rows' | 'width' | 'base'> & { readonly epsilon: 'f32' }, Storage> => {
  const { tensors, isScaled } = variant;
  const row: Row = ['u32', tensors];
  return defineKernel({
    key: keyOf('squares', variant),
    uniforms: { epsilon: 'f32', first: row, rows: row, width: row, base: row },
    buffers: {
      sums: write('f32'),
      scale: optional(isScaled, read('f32')),
      ...buffersOf('raw_gradient', tensors),
    } as Storage,
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<f32, INVOCATIONS>;
${gradientText(variant)}
fn square_at(which: u32, at: u32) -> f32 {
  let g = gradient_at(which, at);
  return g * g + params.epsilon;
}
${MAIN}
  ${whichTensor('group', tensors, ['rows', 'width', 'base'])}
  let own = group - first;
  let columns = max(width, 1u);
  let row_groups = (rows + ${ROWS - 1}u) / ${ROWS}u;
  let column_groups = max((width + ${COLUMNS - 1}u) / ${COLUMNS}u, 1u);
  let is_rows = own < row_groups;
  let row = own * ${ROWS}u + local / ${LANES}u;
  let rest = max(own, row_groups) - row_groups;
  let part = rest / column_groups;
  let column = rest % column_groups * ${COLUMNS}u + local % ${COLUMNS}u;
  let parts = ${partsText};
  let each = (rows + parts - 1u) / parts;
  var sum = 0.0;
  if (is_rows) {
    if (row < rows) {
      for (var at = local % ${LANES}u; at < columns; at += ${LANES}u) { sum += square_at(which, row * columns + at); }
    }
  } else if (column < width) {
    let end = min(rows, (part + 1u) * each);
    for (var at = part * each + local / ${COLUMNS}u; at < end; at += ${INVOCATIONS / COLUMNS}u) {
      sum += square_at(which, at * width + column);
    }
  }
  joined[local] = sum;
  workgroupBarrier();
  if (is_rows) {
    if (local % ${LANES}u > 0u || row >= rows) { return; }
    for (var other = 1u; other < ${LANES}u; other++) { sum += joined[local + other]; }
    sums[base + row] = sum;
    return;
  }
  if (local >= ${COLUMNS}u || column >= width || part >= parts) { return; }
  for (var other = 1u; other < ${INVOCATIONS / COLUMNS}u; other++) { sum += joined[local + other * ${COLUMNS}u]; }
  sums[base + rows + part * width + column] = sum;
}`,
  });
};

/** The averages by row and by column, from those before and the sums. */
export const averagesKernel = (
  tensors: number,
  partsText: string,
): DefinedKernel<Rows<'first' | 'rows' | 'width' | 'base' | 'row_place' | 'column_place'>, Storage> => {
  const row: Row = ['u32', tensors];
  return defineKernel({
    key: `adafactor averages ${tensors}`,
    uniforms: { first: row, rows: row, width: row, base: row, row_place: row, column_place: row },
    buffers: {
      sums: read('f32'),
      numbers: read('f32'),
      after: write('f32'),
      ...buffersOf('old_rows', tensors),
      ...buffersOf('old_columns', tensors),
    } as Storage,
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<f32, INVOCATIONS>;
${loadText('old_rows', tensors)}
${loadText('old_columns', tensors)}
${MAIN}
  ${whichTensor('group', tensors, ['rows', 'width', 'base', 'row_place', 'column_place'])}
  let own = group - first;
  let row_groups = (rows + INVOCATIONS - 1u) / INVOCATIONS;
  if (own < row_groups) {
    let row = own * INVOCATIONS + local;
    if (row < rows) {
      let now = sums[base + row] / f32(max(width, 1u));
      after[row_place + row] = old_rows_at(which, row) * numbers[0] + now * numbers[1];
    }
    return;
  }
  let column = (own - row_groups) * ${JOINED_COLUMNS}u + local % ${JOINED_COLUMNS}u;
  let parts = ${partsText};
  var sum = 0.0;
  if (column < width) {
    for (var part = local / ${JOINED_COLUMNS}u; part < parts; part += ${INVOCATIONS / JOINED_COLUMNS}u) {
      sum += sums[base + rows + part * width + column];
    }
  }
  joined[local] = sum;
  workgroupBarrier();
  if (local >= ${JOINED_COLUMNS}u || column >= width) { return; }
  for (var other = 1u; other < ${INVOCATIONS / JOINED_COLUMNS}u; other++) {
    sum += joined[local + other * ${JOINED_COLUMNS}u];
  }
  after[column_place + column] = old_columns_at(which, column) * numbers[0] + sum / f32(rows) * numbers[1];
}`,
  });
};

/** The mean of each tensor's averages by row; a workgroup takes one. */
export const meansKernel = (
  tensors: number,
): DefinedKernel<Rows<'first' | 'rows' | 'row_place'> & { readonly first_tensor: 'u32' }, Storage> => {
  const row: Row = ['u32', tensors];
  return defineKernel({
    key: `adafactor means ${tensors}`,
    uniforms: { first_tensor: 'u32', first: row, rows: row, row_place: row },
    buffers: { after: read('f32'), means: write('f32') },
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<f32, INVOCATIONS>;
${MAIN}
  ${whichTensor('group', tensors, ['rows', 'row_place'])}
  var sum = 0.0;
  for (var at = local; at < rows; at += INVOCATIONS) { sum += after[row_place + at]; }
  joined[local] = sum;
  ${treeText('joined')}
  if (local == 0u) { means[params.first_tensor + which] = joined[0] / f32(rows); }
}`,
  });
};

/** `inverse_root` of an element of the tensor of a workgroup: of a matrix from its factors. */
const rootText = `fn inverse_root(at: u32, width: u32, mean: f32, row_place: u32, column_place: u32) -> f32 {
  if (width == 0u) { return rsqrt_of(after[row_place + at]); }
  return rsqrt_of(after[row_place + at / width] / mean) * rsqrt_of(after[column_place + at % width]);
}`;

/** Sums of squares over parts: of the update before it is clipped and, `withParameter`, of the parameter. */
export const normsKernel = (
  variant: Variant,
  withParameter: boolean,
): DefinedKernel<
  Rows<'first' | 'rows' | 'width' | 'row_place' | 'column_place'> & { readonly first_tensor: 'u32' },
  Storage
> => {
  const { tensors, isScaled } = variant;
  const row: Row = ['u32', tensors];
  return defineKernel({
    key: `${keyOf('norms', variant)}${withParameter ? ' and parameters' : ''}`,
    uniforms: { first_tensor: 'u32', first: row, rows: row, width: row, row_place: row, column_place: row },
    buffers: {
      after: read('f32'),
      means: read('f32'),
      part_sums: write('vec2f'),
      sizes: write('u32'),
      scale: optional(isScaled, read('f32')),
      ...buffersOf('raw_gradient', tensors),
      ...(withParameter && buffersOf('parameter', tensors)),
    } as Storage,
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<vec2f, INVOCATIONS>;
${opsText(['rsqrt'])}
${gradientText(variant)}
${withParameter ? loadText('parameter', tensors) : 'fn parameter_at(which: u32, at: u32) -> f32 { return 0.0; }'}
${rootText}
${MAIN}
  ${whichTensor('group', tensors, ['rows', 'width', 'row_place', 'column_place'])}
  let part = group - first;
  let size = rows * max(width, 1u);
  let each = max(${PART_ELEMENTS}u, (size + ${MOST_PARTS - 1}u) / ${MOST_PARTS}u);
  let end = min(size, (part + 1u) * each);
  let tensor = params.first_tensor + which;
  let mean = means[tensor];
  var sum = vec2f();
  for (var at = part * each + local; at < end; at += INVOCATIONS) {
    let x = vec2f(
      gradient_at(which, at) * inverse_root(at, width, mean, row_place, column_place),
      parameter_at(which, at),
    );
    sum += x * x;
  }
  joined[local] = sum;
  ${treeText('joined')}
  if (local > 0u || part * each >= size) { return; }
  part_sums[tensor * ${MOST_PARTS}u + part] = joined[0];
  if (part == 0u) { sizes[tensor] = size; }
}`,
  });
};

/** What a tensor's update is divided by, and its rate; a workgroup takes a tensor. */
export const factorsKernel = (
  withParameter: boolean,
): DefinedKernel<{ readonly per_clip: 'f32'; readonly least: 'f32' }, Storage> =>
  defineKernel({
    key: `adafactor factors${withParameter ? ' by parameters' : ''}`,
    uniforms: { per_clip: 'f32', least: 'f32' },
    buffers: {
      part_sums: read('vec2f'),
      sizes: read('u32'),
      numbers: read('f32'),
      factors: write('vec2f'),
    },
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<vec2f, INVOCATIONS>;
${opsText(['sqrt'])}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let tensor = workgroup.x;
  let size = sizes[tensor];
  let each = max(${PART_ELEMENTS}u, (size + ${MOST_PARTS - 1}u) / ${MOST_PARTS}u);
  var sum = vec2f();
  if (local * each < size) { sum = part_sums[tensor * ${MOST_PARTS}u + local]; }
  joined[local] = sum;
  ${treeText('joined')}
  if (local > 0u) { return; }
  let means = joined[0] / f32(size);
  let clip = max(sqrt_of(means.x) * params.per_clip, 1.0);
  let base = numbers[2];
  factors[tensor] = vec2f(clip, ${withParameter ? 'max(sqrt_of(means.y), params.least) * base' : 'base'});
}`,
  });

export interface UpdateVariant extends Variant {
  readonly hasAverage: boolean;
  readonly hasDecay: boolean;
}

/** The parameters, and with `beta1` the averages of their updates. */
export const updateKernel = (
  variant: UpdateVariant,
): DefinedKernel<
  Rows<'first' | 'rows' | 'width' | 'row_place' | 'column_place' | 'place' | 'average_place'> & {
    readonly first_tensor: 'u32';
    readonly beta: 'f32';
    readonly fresh: 'f32';
    readonly decay: 'f32';
  },
  Storage
> => {
  const { tensors, isScaled, hasAverage, hasDecay } = variant;
  const row: Row = ['u32', tensors];
  const places = [
    ...['rows', 'width', 'row_place', 'column_place', 'place'],
    ...(hasAverage ? ['average_place'] : []),
  ];
  return defineKernel({
    key: `${keyOf('update', variant)}${hasAverage ? ' average' : ''}${hasDecay ? ' decay' : ''}`,
    uniforms: {
      ...{ first_tensor: 'u32', beta: 'f32', fresh: 'f32', decay: 'f32' },
      ...{ first: row, rows: row, width: row, row_place: row, column_place: row, place: row },
      average_place: ['u32', hasAverage ? tensors : 0],
    },
    buffers: {
      means: read('f32'),
      factors: read('vec2f'),
      after: write('f32'),
      scale: optional(isScaled, read('f32')),
      ...buffersOf('raw_gradient', tensors),
      ...buffersOf('parameter', tensors),
      ...(hasAverage && buffersOf('average', tensors)),
    } as Storage,
    workgroup: INVOCATIONS,
    source: () => `${opsText(['rsqrt'])}
${gradientText(variant)}
${loadText('parameter', tensors)}
${hasAverage ? loadText('average', tensors) : ''}
${rootText}
${MAIN}
  ${whichTensor('group', tensors, places)}
  let at = (group - first) * INVOCATIONS + local;
  if (at >= rows * max(width, 1u)) { return; }
  let tensor = params.first_tensor + which;
  let factor = factors[tensor];
  let raw = gradient_at(which, at) * inverse_root(at, width, means[tensor], row_place, column_place);
  let now = raw / factor.x * factor.y;
  let update = ${hasAverage ? 'average_at(which, at) * params.beta + now * params.fresh' : 'now'};
  let parameter = parameter_at(which, at);
  let kept = ${hasDecay ? 'parameter - parameter * factor.y * params.decay' : 'parameter'};
  after[place + at] = kept - update;
  ${hasAverage ? 'after[average_place + at] = update;' : ''}
}`,
  });
};
