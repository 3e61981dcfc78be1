import type { UnaryOp } from '@topk-attention/core/backend';
import { type Buffer, read } from '../wgsl/define-kernel.js';
import { range, times } from '../wgsl/text.js';
import { unaryFunction } from './elementwise.js';
import { helperText } from './elementwise-wgsl.js';

/** Invocations of all kernels of the update. */
export const INVOCATIONS = 256;

/** A kernel for several tensors: how many, and whether gradients are multiplied by a scale. */
export interface Variant {
  readonly tensors: number;
  readonly isScaled: boolean;
}

export type Row = readonly ['u32', number];
export type Rows<Name extends string> = { readonly [name in Name]: Row };
export type Storage = Readonly<Record<string, Buffer<false, boolean>>>;

/** `NAME_0`, `NAME_1`, ...: a buffer for each tensor, and `fn NAME_at(which, at)` that reads them. */
export function buffersOf(name: string, tensors: number): Storage {
  return Object.fromEntries(range(tensors).map((at) => [`${name}_${at}`, read('f32')]));
}

export function loadText(name: string, tensors: number): string {
  return `fn ${name}_at(which: u32, at: u32) -> f32 {
  switch which {
    ${times(tensors, (i) => `case ${i}u: { return ${name}_${i}[at]; }`, '\n    ')}
    default: { return 0.0; }
  }
}`;
}

export const gradientText = ({ tensors, isScaled }: Variant): string => `${loadText('raw_gradient', tensors)}
fn gradient_at(which: u32, at: u32) -> f32 { return raw_gradient_at(which, at)${isScaled ? ' * scale[0]' : ''}; }`;

/** Ops as core's have them, NaN and infinities included. */
export function opsText(ops: readonly UnaryOp[]): string {
  const functions = ops.map((op) => ({ op, ...unaryFunction(op) }));
  return `${helperText(functions.flatMap(({ helpers }) => helpers))}
${functions
  .map(
    ({ op, text }) =>
      `${text}\nfn ${op}_of(x: f32) -> f32 { return bitcast<f32>(${op}_bits(bitcast<u32>(x))); }`,
  )
  .join('\n')}`;
}

export const keyOf = (name: string, { tensors, isScaled }: Variant): string =>
  `adafactor ${name} ${tensors}${isScaled ? ' scaled' : ''}`;

export const MAIN: string = `@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let group = workgroup.x + workgroup.y * groups.x;`;

/** Adds `joined` up, to its first element. */
export const JOIN: string = `workgroupBarrier();
  for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
    if (local < half) { joined[local] += joined[local + half]; }
    workgroupBarrier();
  }`;
