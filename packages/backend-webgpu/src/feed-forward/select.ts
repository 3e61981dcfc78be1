import type { Activation } from '@topk-attention/core';
import type { Binding } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { activationText } from '../wgsl/activation.js';
import { kernelFamily, optional, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { text as scanText } from '../wgsl/scan.wgsl.js';
import { NAN_BITS, times } from '../wgsl/text.js';
import { text as selectText } from './select.wgsl.js';

/**
 * The k best hidden units of each token, exactly: larger rank first, ties to the lower unit. One workgroup per token.
 *
 * Ranks become order-preserving u32 keys. Three passes over the row, each a histogram of 2,048 bins in workgroup
 * memory (digits of 11, 11 and 10 bits), find the k-th key and how many of its equals are kept; the search ends early
 * when a bin is kept whole. A last pass marks the kept units of 8,192 at a time in two bit sets (above the k-th key,
 * equal to it), counts them by a scan and writes them in ascending order. The row is read four times, from cache
 * except for the first. Workgroup memory: 12.3 KiB. Atomics only count and set bits, so the order of threads never
 * shows.
 *
 * A unit of rank -inf is not kept; NaN ranks are left out and make the token's count NAN_ROW.
 */
interface SelectShape {
  readonly tokens: number;
  readonly hidden: number;
  readonly k: number;
}

interface SelectParameters {
  readonly activation: Activation;
  readonly gated: boolean;
  /** Ranks are |act(s) gate| * norm, otherwise s. */
  readonly isContribution: boolean;
  /** Write activations of kept units over the pre-activations, zero elsewhere. */
  readonly isDense: boolean;
  readonly saves: boolean;
  /** Rows of hidden units are whole vectors. */
  readonly isVector: boolean;
}

interface SelectBuffers {
  /** [tokens, F]: pre-activations */
  readonly preactivations: Binding;
  /** [tokens, F] */
  readonly gate?: Binding | undefined;
  /** [F] */
  readonly norms?: Binding | undefined;
  /** i32 [tokens, k], then -1 */
  readonly indices: Binding;
  /** [tokens, k]: act(s) * gate */
  readonly weights: Binding;
  /** [tokens, k] */
  readonly kept?: Binding | undefined;
  /** u32 [tokens]: slots in use, or NAN_ROW */
  readonly counts: Binding;
}

export function recordSelect(
  stream: Stream,
  shape: SelectShape,
  parameters: Omit<SelectParameters, 'isVector'>,
  buffers: SelectBuffers,
): void {
  const { tokens, hidden, k } = shape;
  const { preactivations, gate, norms } = buffers;
  const isVector =
    hidden % 4 === 0 && [preactivations, gate, norms].every((one) => one === undefined || one.base % 4 === 0);
  selectKernel({ ...parameters, isVector }).launch(stream, {
    uniforms: { tokens, hidden, k, nan_bits: NAN_BITS },
    buffers,
    workgroups: tokens,
  });
}

const selectKernel = kernelFamily('feed-forward select', (parameters: SelectParameters) => {
  const { activation, gated, isContribution, isDense, saves, isVector } = parameters;
  const floats = isVector ? 'vec4f' : 'f32';
  return {
    uniforms: { tokens: 'u32', hidden: 'u32', k: 'u32', nan_bits: 'u32' },
    buffers: {
      preactivations: isDense ? writeTo(floats) : readFrom(floats),
      gate: optional(gated, readFrom(floats)),
      norms: optional(isContribution, readFrom(floats)),
      indices: writeTo('i32'),
      weights: writeTo('f32'),
      kept: optional(saves, writeTo('f32')),
      counts: writeTo('u32'),
    },
    workgroup: 256,
    source: () => `${scanText}
${activationText(activation)}
${fill(selectText, { ...fragments(parameters), is_dense: isDense, saves })}`,
  };
});

/** Loads in flight per invocation. */
const UNROLL = 4;

/** The parts that `select.wgsl` leaves to the variant. */
function fragments({ gated, isContribution, isVector }: SelectParameters): Record<string, string | number> {
  const width = isVector ? 4 : 1;
  const floats = isVector ? 'vec4f' : 'f32';
  /** Element `place` of a buffer, where it may lie in a vector. */
  const one = (name: string, place: string): string =>
    isVector ? `${name}[(${place}) / 4u][(${place}) % 4u]` : `${name}[${place}]`;
  const some = (name: string, place: string): string => `${name}[${isVector ? `(${place}) / 4u` : place}]`;
  const each = (line: (c: number) => string): string => times(width, line, ', ');
  const part = (name: string, c: number): string => (isVector ? `${name}[${c}]` : name);
  const preactivationAt = 'params.preactivations_base + row * params.hidden + unit';
  const gateAt = 'params.gate_base + row * params.hidden + unit';
  const activations = isVector ? `vec4f(${each((c) => `activated(s[${c}])`)})` : 'activated(s)';
  const units = (u: number): string => `first + ${256 * width * u}u + ${width}u * t`;
  const load = (end: string): string =>
    times(UNROLL, (u) => `let bits${u} = rank_bits(row, ${units(u)}, ${end});`);
  const everyUnit = (line: (bits: string) => string): string =>
    times(UNROLL, (u) => times(width, (c) => line(part(`bits${u}`, c)), ' '));
  const kept = (c: number): string =>
    `select(0.0, value_of(row, start + at + ${c}u, ${part('s', c)}), (bits & ${1 << c}u) != 0u)`;
  return {
    width,
    floats,
    words: isVector ? 'vec4u' : 'u32',
    step: 256 * width * UNROLL,
    all_bits: 2 ** width - 1,
    value: `activated(s)${gated ? ` * ${one('gate', gateAt)}` : ''}`,
    rank: isContribution
      ? `abs(${activations}${gated ? ` * ${some('gate', gateAt)}` : ''}) * ${some('norms', 'params.norms_base + unit')}`
      : 's',
    one_preactivation: one('preactivations', preactivationAt),
    some_preactivations: some('preactivations', preactivationAt),
    load_of_row: load('params.hidden'),
    load_of_part: load('end'),
    count_first_units: everyUnit((bits) => `count_first(${bits});`),
    count_next_units: everyUnit((bits) => `count_next(${bits}, prefix_shift, prefix, shift, digits);`),
    mark_units: times(UNROLL, (u) => markText(u, width, units(u), part)),
    kept_values: isVector ? `vec4f(${each(kept)})` : kept(0),
  };
}

/** Sets the bits of the units of one load; an invocation's units share a word. */
function markText(u: number, width: number, unit: string, part: (name: string, c: number) => string): string {
  const flag = (name: string, test: string): string =>
    `let ${name} = ${times(width, (c) => `select(0u, ${1 << c}u, ${test.replaceAll('KEY', `key${u}_${c}`)})`, ' | ')};`;
  return `{
        ${times(width, (c) => `let key${u}_${c} = key_of(${part(`bits${u}`, c)});`, ' ')}
        let at = ${unit} - start;
        ${flag('above', 'KEY >= least')}
        if (above != 0u) { atomicOr(&above_bits[at >> 5u], above << (at & 31u)); }
        if (equal != 0u) {
          ${flag('equals', 'KEY == equal')}
          if (equals != 0u) { atomicOr(&equal_bits[at >> 5u], equals << (at & 31u)); }
        }
      }`;
}
