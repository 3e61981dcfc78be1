import type { Activation } from '@topk-attention/core';
import type { Binding } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { activationText } from '../wgsl/activation.js';
import { defineKernel, optional, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { halfOf } from '../wgsl/numbers.js';
import { forEachElement, NAN_BITS } from '../wgsl/text.js';

/**
 * Small passes over rows of hidden units or over lists: one invocation per element, read once, written once, no
 * workgroup memory.
 */
const workgroup = 256;

/** s <- act(s) [* gate], element by element. */
export function recordActivate(
  stream: Stream,
  count: number,
  activation: Activation,
  s: Binding,
  gate?: Binding,
): void {
  const gated = gate !== undefined;
  const kernel = defineKernel({
    key: `feed-forward activate ${activation}${gated ? ' gated' : ''}`,
    uniforms: { count: 'u32' },
    buffers: { s: writeTo('f32'), gate: optional(gated, readFrom('f32')) },
    workgroup,
    source: () => `${activationText(activation)}
${forEachElement(`s[params.s_base + at] = activated(s[params.s_base + at])${gated ? ' * gate[params.gate_base + at]' : ''};`)}`,
  });
  kernel.launch(stream, { uniforms: { count }, buffers: { s, gate }, workgroups: { invocations: count } });
}

/**
 * The chain rule through act(s) * gate, in place: s <- dL/ds, upstream <- act(s) * gate (the activations),
 * gate <- dL/dgate. `upstream` initially holds dL/d(act(s) gate). A NaN s gives NaN throughout.
 */
export function recordPullActivation(
  stream: Stream,
  count: number,
  activation: Activation,
  s: Binding,
  upstream: Binding,
  gate?: Binding,
): void {
  const gated = gate !== undefined;
  const kernel = defineKernel({
    key: `feed-forward pull ${activation}${gated ? ' gated' : ''}`,
    uniforms: { count: 'u32', nan_bits: 'u32' },
    buffers: { s: writeTo('f32'), upstream: writeTo('f32'), gate: optional(gated, writeTo('f32')) },
    workgroup,
    source: () => `${activationText(activation)}
${forEachElement(pullText(gated))}`,
  });
  kernel.launch(stream, {
    uniforms: { count, nan_bits: NAN_BITS },
    buffers: { s, upstream, gate },
    workgroups: { invocations: count },
  });
}

function pullText(gated: boolean): string {
  const place = (name: string): string => `${name}[params.${name}_base + at]`;
  return `let x = ${place('s')};
  let d = ${place('upstream')};
  let is_nan = (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
  let nan = bitcast<f32>(params.nan_bits);
  let plain = activated(x);
  ${
    gated
      ? `let g = ${place('gate')};
  ${place('s')} = select(d * g * slope(x), nan, is_nan);
  ${place('upstream')} = select(plain * g, nan, is_nan);
  ${place('gate')} = select(d * plain, nan, is_nan);`
      : `${place('s')} = select(d * slope(x), nan, is_nan);
  ${place('upstream')} = select(plain, nan, is_nan);`
  }`;
}

/** Lists of k units per token, taken from `hidden`. */
interface ListShape {
  readonly tokens: number;
  readonly k: number;
  readonly hidden: number;
}

const pick = defineKernel({
  key: 'feed-forward pick',
  uniforms: { count: 'u32', k: 'u32', hidden: 'u32' },
  buffers: { indices: readFrom('i32'), wide: readFrom('f32'), values: writeTo('f32') },
  workgroup,
  source: () =>
    forEachElement(`let unit = indices[params.indices_base + at];
  var value = 0.0;
  if (unit >= 0) { value = wide[params.wide_base + (at / params.k) * params.hidden + u32(unit)]; }
  values[params.values_base + at] = value;`),
});

/** values[token, slot] = wide[token, indices[token, slot]], 0 for index -1. */
export function recordPick(
  stream: Stream,
  { tokens, k, hidden }: ListShape,
  buffers: { readonly indices: Binding; readonly wide: Binding; readonly values: Binding },
): void {
  const count = tokens * k;
  pick.launch(stream, { uniforms: { count, k, hidden }, buffers, workgroups: { invocations: count } });
}

const put = defineKernel({
  key: 'feed-forward put',
  uniforms: { count: 'u32', k: 'u32', hidden: 'u32' },
  buffers: { indices: readFrom('i32'), values: readFrom('f32'), wide: writeTo('f32') },
  workgroup,
  source: () =>
    forEachElement(`let unit = indices[params.indices_base + at];
  if (unit >= 0) { wide[params.wide_base + (at / params.k) * params.hidden + u32(unit)] = values[params.values_base + at]; }`),
});

/** wide[token, indices[token, slot]] = values[token, slot]; the rest of `wide` stays as it is. */
export function recordPut(
  stream: Stream,
  { tokens, k, hidden }: ListShape,
  buffers: { readonly indices: Binding; readonly values: Binding; readonly wide: Binding },
): void {
  const count = tokens * k;
  put.launch(stream, { uniforms: { count, k, hidden }, buffers, workgroups: { invocations: count } });
}

const nanRows = defineKernel({
  key: 'feed-forward NaN rows',
  uniforms: { count: 'u32', k: 'u32', columns: 'u32', nan_bits: 'u32' },
  buffers: { kept: readFrom('f32'), out: writeTo('f32') },
  workgroup,
  source: () =>
    forEachElement(`let first = bitcast<u32>(kept[params.kept_base + (at / params.columns) * params.k]);
  if ((first & 0x7fffffffu) > 0x7f800000u) { out[params.out_base + at] = bitcast<f32>(params.nan_bits); }`),
});

/** out[token] = NaN throughout where the kept pre-activations of the token are NaN. */
export function recordNaNRows(
  stream: Stream,
  { tokens, k, columns }: { readonly tokens: number; readonly k: number; readonly columns: number },
  kept: Binding,
  out: Binding,
): void {
  const count = tokens * columns;
  nanRows.launch(stream, {
    uniforms: { count, k, columns, nan_bits: NAN_BITS },
    buffers: { kept, out },
    workgroups: { invocations: count },
  });
}

const widen = defineKernel({
  key: 'feed-forward widen',
  uniforms: { count: 'u32' },
  buffers: { halves: readFrom('u32'), out: writeTo('f32') },
  workgroup,
  source: () =>
    forEachElement(`let place = params.halves_base + at;
  out[params.out_base + at] = unpack2x16float(halves[place / 2u])[place % 2u];`),
});

/** f32 from f16. */
export function recordWiden(stream: Stream, count: number, halves: Binding, out: Binding): void {
  widen.launch(stream, {
    uniforms: { count },
    buffers: { halves, out },
    workgroups: { invocations: count },
  });
}

const narrow = defineKernel({
  key: 'feed-forward narrow',
  uniforms: { count: 'u32', size: 'u32' },
  buffers: { x: readFrom('f32'), halves: writeTo('u32') },
  workgroup,
  source: () => `${halfOf}
${forEachElement(`let low = half_of(x[params.x_base + 2u * at]);
  var high = 0u;
  if (2u * at + 1u < params.size) { high = half_of(x[params.x_base + 2u * at + 1u]); }
  halves[params.halves_base + at] = low | (high << 16u);`)}`,
});

/** f16 from f32, one invocation per word: `halves` begins at a whole word, its base counts words. */
export function recordNarrow(stream: Stream, size: number, x: Binding, halves: Binding): void {
  const count = Math.ceil(size / 2);
  narrow.launch(stream, {
    uniforms: { count, size },
    buffers: { x, halves },
    workgroups: { invocations: count },
  });
}
