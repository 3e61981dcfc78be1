import { type DefinedKernel, defineKernel, optional, read, write } from '../wgsl/define-kernel.js';
import {
  buffersOf,
  gradientText,
  INVOCATIONS,
  JOIN,
  keyOf,
  loadText,
  MAIN,
  opsText,
  type Row,
  type Rows,
  type Storage,
  type Variant,
} from './adafactor-text.js';
import { whichTensor } from './several-tensors.js';

/** Most parts of a tensor whose squares are summed, and the elements of a part of a small one: choices. */
export const MOST_PARTS = 256;
const PART_ELEMENTS = 4096;

/** Workgroups of `normsKernel` for a tensor: parts of it whose squares are summed. */
export function normsWorkgroups(size: number): number {
  return Math.ceil(size / Math.max(PART_ELEMENTS, Math.ceil(size / MOST_PARTS)));
}

/** Workgroups of `updateKernel`: an invocation for each element. */
export function updateWorkgroups(size: number): number {
  return Math.ceil(size / INVOCATIONS);
}

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
  ${JOIN}
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
  ${JOIN}
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
