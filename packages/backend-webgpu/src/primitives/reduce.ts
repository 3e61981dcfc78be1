import { type DType, isFloat, sizeOf, stridesOf } from '@topk-attention/core';
import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { storageBytes, type View } from '../view.js';
import { recordCast } from './elementwise.js';
import { helperText } from './elementwise-wgsl.js';
import { recordFill } from './fill.js';
import { collapse } from './strides.js';
import { doesNotFit } from './windows.js';

export type Reduction = 'sum' | 'max';

/** From this many elements on a workgroup shares a row; below it one invocation walks it. */
const SHARED_FROM = 256;
const INVOCATIONS = 64;
/** Work is cut so that about this many invocations run, or the elements run out. */
const WANTED_INVOCATIONS = 1 << 17;
/** Fewest elements that are worth a part of their own. */
const LEAST_PART = 1024;

/**
 * Sum or max over `axes`, which `out` keeps with extent 1. The order of summation follows from the shapes alone: parts,
 * inside a part by invocations (interleaved) and then a tree, then over the parts.
 */
export function recordReduce(
  stream: Stream,
  reduction: Reduction,
  x: View,
  axes: readonly number[],
  out: View,
): void {
  const outputs = sizeOf(out.shape);
  if (outputs === 0) return;
  if (sizeOf(x.shape) === 0) {
    const least = isFloat(x.dtype) ? Number.NEGATIVE_INFINITY : -(2 ** 31);
    recordFill(stream, reduction === 'sum' ? 0 : least, out);
    return;
  }
  const limit = stream.device.limits.maxStorageBufferBindingSize;
  if (x.span.size > limit) throw doesNotFit(stream, reduction, x.span.size);
  if (out.dtype === 'f16') {
    const wide = temporary(stream, out.shape, 'f32');
    recordReduce(stream, reduction, x, axes, wide);
    recordCast(stream, wide, out);
    stream.release(wide.span);
    return;
  }
  const strides = stridesOf(x.shape);
  const pick = (keep: boolean): { extents: number[]; steps: readonly number[][] } => {
    const own = x.shape.map((_, axis) => axis).filter((axis) => axes.includes(axis) !== keep);
    const { extents, strides: steps } = collapse({
      extents: own.map((axis) => x.shape[axis] as number),
      strides: [own.map((axis) => strides[axis] as number)],
    });
    return { extents: [...extents], steps: steps.map((each) => [...each]) };
  };
  const kept = pick(true);
  const reduced = pick(false);
  const length = sizeOf(reduced.extents);
  const shared = length >= SHARED_FROM && (reduced.steps[0]?.at(-1) ?? 1) === 1;
  const wanted = Math.ceil(WANTED_INVOCATIONS / (outputs * (shared ? INVOCATIONS : 1)));
  const parts = Math.max(1, Math.min(wanted, Math.ceil(length / LEAST_PART)));
  const partials = parts === 1 ? out : temporary(stream, [parts, outputs], out.dtype);
  const perPart = Math.ceil(length / parts);
  const groups = shared ? outputs * parts : Math.ceil((outputs * parts) / INVOCATIONS);
  stream.launch({
    kernel: reduceKernel(reduction, x.dtype, shared, kept.extents.length, reduced.extents.length),
    buffers: [x.span, partials.span],
    uniforms: uniformWords([
      outputs,
      parts,
      length,
      perPart,
      ...kept.extents,
      ...(kept.steps[0] as readonly number[]),
      ...reduced.extents,
      ...(reduced.steps[0] as readonly number[]),
    ]),
    workgroups: gridOf(groups),
  });
  if (parts === 1) return;
  recordReduce(stream, reduction, partials, [0], { ...out, shape: [1, outputs] });
  stream.release(partials.span);
}

function temporary(stream: Stream, shape: readonly number[], dtype: DType): View {
  return { span: stream.scratch(storageBytes(shape, dtype)), shape, dtype };
}

function reduceKernel(
  reduction: Reduction,
  dtype: DType,
  shared: boolean,
  keptRank: number,
  reducedRank: number,
): Kernel {
  return {
    key: `reduce ${reduction} ${dtype}${shared ? ' shared' : ''} ranks ${keptRank} ${reducedRank}`,
    buffers: ['read', 'write'],
    source: () => reduceSource(reduction, dtype, shared, keptRank, reducedRank),
  };
}

/** How a reduction holds what it has seen: sums as numbers, maxima as ordered keys, so that no infinity is computed with. */
function accumulator(
  reduction: Reduction,
  dtype: DType,
): Record<'type' | 'start' | 'load' | 'join' | 'store', string> {
  const float = isFloat(dtype);
  if (reduction === 'sum') {
    const type = float ? 'f32' : 'i32';
    return {
      type,
      start: float ? '0.0' : '0',
      load: `bitcast<${type}>(bits)`,
      join: 'a + b',
      store: 'bitcast<u32>(total)',
    };
  }
  return {
    type: 'u32',
    start: '0u',
    load: float ? 'key_of(bits)' : 'bits ^ 0x80000000u',
    join: 'max(a, b)',
    store: float
      ? 'total ^ select(0xffffffffu, 0x80000000u, (total & 0x80000000u) != 0u)'
      : 'total ^ 0x80000000u',
  };
}

function reduceSource(
  reduction: Reduction,
  dtype: DType,
  shared: boolean,
  keptRank: number,
  reducedRank: number,
): string {
  const { type, start, load, join, store } = accumulator(reduction, dtype);
  const word = (index: number): string => `params.words[${index >> 2}].${'xyzw'[index & 3]}`;
  const keptAt = 4;
  const reducedAt = keptAt + 2 * keptRank;
  const offset = (name: string, rank: number, first: number): string => {
    const steps = Array.from({ length: rank }, (_, index) => {
      const axis = rank - 1 - index;
      const extent = word(first + axis);
      const stride = word(first + rank + axis);
      return axis === 0
        ? `at += rest * ${stride};`
        : `at += rest % ${extent} * ${stride}; rest /= ${extent};`;
    });
    return `fn ${name}(index: u32) -> u32 { var rest = index; var at = 0u; ${steps.join(' ')} return at; }`;
  };
  const bits = dtype === 'f16' ? 'half_to_bits((x[at / 2u] >> (16u * (at % 2u))) & 0xffffu)' : 'x[at]';
  const unit = shared
    ? `workgroup.x + workgroup.y * groups.x`
    : `(workgroup.x + workgroup.y * groups.x) * ${INVOCATIONS}u + local`;
  return `
struct Params { words: array<vec4u, ${Math.ceil((reducedAt + 2 * reducedRank) / 4)}> }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
${helperText([...(dtype === 'f16' ? ['halfToBits' as const] : []), ...(reduction === 'max' && isFloat(dtype) ? ['key' as const] : [])])}
${offset('kept_offset', keptRank, keptAt)}
${offset('reduced_offset', reducedRank, reducedAt)}
fn load(at: u32) -> ${type} { let bits = ${bits}; return ${load}; }
fn join(a: ${type}, b: ${type}) -> ${type} { return ${join}; }
${shared ? `var<workgroup> totals: array<${type}, ${INVOCATIONS}>;` : ''}

@compute @workgroup_size(${INVOCATIONS})
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let outputs = ${word(0)};
  let unit = ${unit};
  if (unit >= outputs * ${word(1)}) { return; }
  let start = kept_offset(unit % outputs);
  let part = unit / outputs;
  let first = part * ${word(3)};
  let end = min(${word(2)}, first + ${word(3)});
  var total = ${type}(${start});
  for (var j = first${shared ? ' + local' : ''}; j < end; j += ${shared ? INVOCATIONS : 1}u) {
    total = join(total, load(start + reduced_offset(j)));
  }
  ${shared ? treeReduction : `out[unit] = ${store};`}
  ${shared ? `if (local == 0u) { total = totals[0]; out[unit] = ${store}; }` : ''}
}`;
}

const treeReduction = `totals[local] = total;
  workgroupBarrier();
  for (var step = ${INVOCATIONS / 2}u; step > 0u; step >>= 1u) {
    if (local < step) { totals[local] = join(totals[local], totals[local + step]); }
    workgroupBarrier();
  }`;
