import type { Activation } from '@topk-attention/core';
import { halfOf } from '../primitives/wgsl-numbers.js';
import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { activationText } from './activation.js';
import type { Range } from './range.js';
import { NAN_BITS } from './wgsl.js';

/**
 * Small passes over rows of hidden units or over lists: one invocation an element, read once, written once, no
 * workgroup memory.
 */
export function launchElements(
  stream: Stream,
  kernel: Kernel,
  count: number,
  ranges: readonly Range[],
  uniforms: readonly number[] = [],
): void {
  stream.launch({
    kernel,
    buffers: ranges.map(({ span }) => span),
    uniforms: uniformWords([count, ...uniforms, ...ranges.map(({ base }) => base)]),
    workgroups: gridOf(Math.ceil(count / 256)),
  });
}

export interface ElementKernel {
  readonly key: string;
  /** Name, element type and access of each buffer; `NAME_base` is its offset in words. */
  readonly buffers: readonly (readonly [name: string, type: string, access: 'read' | 'write'])[];
  readonly uniforms?: readonly string[];
  readonly functions?: string;
  /** WGSL of element `at`. */
  readonly body: string;
}

export function elementKernel({ key, buffers, uniforms = [], functions = '', body }: ElementKernel): Kernel {
  const names = [...uniforms, ...buffers.map(([name]) => `${name}_base`)];
  const bindings = buffers.map(
    ([name, type, access], index) =>
      `@group(0) @binding(${index + 1}) var<storage, ${access === 'read' ? 'read' : 'read_write'}> ${name}: array<${type}>;`,
  );
  return {
    key: `feed-forward ${key}`,
    buffers: buffers.map(([, , access]) => access),
    source: () => `
struct Params { count: u32, ${names.map((name) => `${name}: u32`).join(', ')} }
@group(0) @binding(0) var<uniform> params: Params;
${bindings.join('\n')}
${functions}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let at = (group.x + group.y * groups.x) * 256u + t;
  if (at >= params.count) { return; }
  ${body}
}`,
  };
}

/** s <- act(s) [* gate], element by element. */
export function recordActivate(
  stream: Stream,
  count: number,
  activation: Activation,
  preactivations: Range,
  gate?: Range,
): void {
  const kernel = elementKernel({
    key: `activate ${activation}${gate ? ' gated' : ''}`,
    buffers: [['s', 'f32', 'write'], ...(gate ? ([['gate', 'f32', 'read']] as const) : [])],
    functions: activationText(activation),
    body: `s[params.s_base + at] = activated(s[params.s_base + at])${gate ? ' * gate[params.gate_base + at]' : ''};`,
  });
  launchElements(stream, kernel, count, [preactivations, ...(gate ? [gate] : [])]);
}

/**
 * The chain rule through act(s) * gate, in place: s <- dL/ds, upstream <- act(s) * gate (the activations),
 * gate <- dL/dgate. `upstream` holds dL/d(act(s) gate) before. A NaN s gives NaN throughout.
 */
export function recordPullActivation(
  stream: Stream,
  count: number,
  activation: Activation,
  preactivations: Range,
  upstream: Range,
  gate?: Range,
): void {
  const place = (name: string): string => `${name}[params.${name}_base + at]`;
  const kernel = elementKernel({
    key: `pull ${activation}${gate ? ' gated' : ''}`,
    buffers: [
      ['s', 'f32', 'write'],
      ['upstream', 'f32', 'write'],
      ...(gate ? ([['gate', 'f32', 'write']] as const) : []),
    ],
    uniforms: ['nan_bits'],
    functions: activationText(activation),
    body: `let x = ${place('s')};
  let d = ${place('upstream')};
  let is_nan = (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
  let nan = bitcast<f32>(params.nan_bits);
  let plain = activated(x);
  ${
    gate
      ? `let g = ${place('gate')};
  ${place('s')} = select(d * g * slope(x), nan, is_nan);
  ${place('upstream')} = select(plain * g, nan, is_nan);
  ${place('gate')} = select(d * plain, nan, is_nan);`
      : `${place('s')} = select(d * slope(x), nan, is_nan);
  ${place('upstream')} = select(plain, nan, is_nan);`
  }`,
  });
  launchElements(stream, kernel, count, [preactivations, upstream, ...(gate ? [gate] : [])], [NAN_BITS]);
}

/** values[token, slot] = wide[token, indices[token, slot]], 0 for index -1. */
export function recordPick(
  stream: Stream,
  shape: { readonly tokens: number; readonly k: number; readonly hidden: number },
  indices: Range,
  wide: Range,
  values: Range,
): void {
  const kernel = elementKernel({
    key: 'pick',
    buffers: [
      ['indices', 'i32', 'read'],
      ['wide', 'f32', 'read'],
      ['values', 'f32', 'write'],
    ],
    uniforms: ['k', 'hidden'],
    body: `let unit = indices[params.indices_base + at];
  var value = 0.0;
  if (unit >= 0) { value = wide[params.wide_base + (at / params.k) * params.hidden + u32(unit)]; }
  values[params.values_base + at] = value;`,
  });
  launchElements(stream, kernel, shape.tokens * shape.k, [indices, wide, values], [shape.k, shape.hidden]);
}

/** wide[token, indices[token, slot]] = values[token, slot]; the rest of `wide` stays as it is. */
export function recordPut(
  stream: Stream,
  shape: { readonly tokens: number; readonly k: number; readonly hidden: number },
  indices: Range,
  values: Range,
  wide: Range,
): void {
  const kernel = elementKernel({
    key: 'put',
    buffers: [
      ['indices', 'i32', 'read'],
      ['values', 'f32', 'read'],
      ['wide', 'f32', 'write'],
    ],
    uniforms: ['k', 'hidden'],
    body: `let unit = indices[params.indices_base + at];
  if (unit >= 0) { wide[params.wide_base + (at / params.k) * params.hidden + u32(unit)] = values[params.values_base + at]; }`,
  });
  launchElements(stream, kernel, shape.tokens * shape.k, [indices, values, wide], [shape.k, shape.hidden]);
}

/** out[token] = NaN throughout where the kept pre-activations of the token are NaN. */
export function recordNaNRows(
  stream: Stream,
  shape: { readonly tokens: number; readonly k: number; readonly columns: number },
  kept: Range,
  out: Range,
): void {
  const kernel = elementKernel({
    key: 'NaN rows',
    buffers: [
      ['kept', 'f32', 'read'],
      ['out', 'f32', 'write'],
    ],
    uniforms: ['k', 'columns', 'nan_bits'],
    body: `let first = bitcast<u32>(kept[params.kept_base + (at / params.columns) * params.k]);
  if ((first & 0x7fffffffu) > 0x7f800000u) { out[params.out_base + at] = bitcast<f32>(params.nan_bits); }`,
  });
  const { tokens, k, columns } = shape;
  launchElements(stream, kernel, tokens * columns, [kept, out], [k, columns, NAN_BITS]);
}

/** f32 from f16 pairs, from element `first` of the packed tensor on. */
export function recordWiden(stream: Stream, count: number, first: number, halves: Range, out: Range): void {
  const kernel = elementKernel({
    key: 'widen',
    buffers: [
      ['halves', 'u32', 'read'],
      ['out', 'f32', 'write'],
    ],
    uniforms: ['first'],
    body: `let place = params.first + at;
  out[params.out_base + at] = unpack2x16float(halves[params.halves_base + place / 2u])[place % 2u];`,
  });
  launchElements(stream, kernel, count, [halves, out], [first]);
}

/** f16 pairs from f32. One invocation a word. */
export function recordNarrow(stream: Stream, count: number, x: Range, halves: Range): void {
  const kernel = elementKernel({
    key: 'narrow',
    buffers: [
      ['x', 'f32', 'read'],
      ['halves', 'u32', 'write'],
    ],
    uniforms: ['size'],
    functions: halfOf,
    body: `let low = half_of(x[params.x_base + 2u * at]);
  var high = 0u;
  if (2u * at + 1u < params.size) { high = half_of(x[params.x_base + 2u * at + 1u]); }
  halves[params.halves_base + at] = low | (high << 16u);`,
  });
  launchElements(stream, kernel, Math.ceil(count / 2), [x, halves], [count]);
}
