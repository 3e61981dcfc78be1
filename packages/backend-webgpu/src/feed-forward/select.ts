import type { Activation } from '@topk-attention/core';
import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { activationText } from './activation.js';
import type { Range } from './range.js';
import { NAN_BITS, SCAN_TEXT, times } from './wgsl.js';

/**
 * The k best hidden units of each token, exactly: larger rank first, the lower unit at a tie. One workgroup a token.
 *
 * Ranks become order-preserving u32 keys. Three passes over the row, each a histogram of 2,048 bins in workgroup
 * memory (digits of 11, 11 and 10 bits), find the k-th key and how many of its equals are kept; a pass ends the search
 * early when a bin is kept whole. A last pass marks the kept units of 8,192 at a time in two bit sets (above the k-th
 * key, equal to it), counts them by a scan and writes them in ascending order. The row is read four times, from cache
 * but for the first. Workgroup memory: 12.3 KiB. Atomics only count and set bits, so the order of threads never shows.
 *
 * A unit of rank -inf is not kept; NaN ranks are left out and make the token's count NAN_ROW.
 */
export interface SelectShape {
  readonly tokens: number;
  readonly hidden: number;
  readonly k: number;
}

export interface SelectParameters {
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

export interface SelectBuffers {
  /** [tokens, F]: pre-activations */
  readonly preactivations: Range;
  /** [tokens, F] */
  readonly gate?: Range | undefined;
  /** [F] */
  readonly norms?: Range | undefined;
  /** i32 [tokens, k], then -1 */
  readonly indices: Range;
  /** [tokens, k]: act(s) * gate */
  readonly weights: Range;
  /** [tokens, k] */
  readonly kept?: Range | undefined;
  /** u32 [tokens]: slots in use, or NAN_ROW */
  readonly counts: Range;
}

export function recordSelect(
  stream: Stream,
  shape: SelectShape,
  parameters: Omit<SelectParameters, 'isVector'>,
  buffers: SelectBuffers,
): void {
  const { hidden } = shape;
  const { preactivations, gate, norms, indices, weights, kept, counts } = buffers;
  const list = [preactivations, gate, norms, indices, weights, kept, counts].filter(
    (one) => one !== undefined,
  );
  const wide = [preactivations, gate, norms].filter((one) => one !== undefined);
  const isVector = hidden % 4 === 0 && wide.every(({ base }) => base % 4 === 0);
  stream.launch({
    kernel: selectKernel({ ...parameters, isVector }),
    buffers: list.map(({ span }) => span),
    uniforms: uniformWords([
      shape.tokens,
      shape.hidden,
      shape.k,
      NAN_BITS,
      preactivations.base,
      gate?.base ?? 0,
      norms?.base ?? 0,
      indices.base,
      weights.base,
      kept?.base ?? 0,
      counts.base,
    ]),
    workgroups: gridOf(shape.tokens),
  });
}

export function selectKernel(parameters: SelectParameters): Kernel {
  const { gated, isContribution, isDense, saves } = parameters;
  const read = (isThere: boolean): readonly 'read'[] => (isThere ? ['read'] : []);
  return {
    key: `feed-forward select ${JSON.stringify(parameters)}`,
    buffers: [
      isDense ? 'write' : 'read',
      ...read(gated),
      ...read(isContribution),
      'write',
      'write',
      ...(saves ? (['write'] as const) : []),
      'write',
    ],
    source: () => selectText(parameters),
  };
}

/** Loads that an invocation has under way at a time. */
const UNROLL = 4;

function selectText(parameters: SelectParameters): string {
  const { activation, gated, isContribution, isDense, saves, isVector } = parameters;
  const width = isVector ? 4 : 1;
  const [float, word] = isVector ? ['vec4f', 'vec4u'] : ['f32', 'u32'];
  let binding = 1;
  const bind = (name: string, type: string, access: string): string =>
    `@group(0) @binding(${binding++}) var<storage, ${access}> ${name}: array<${type}>;`;
  const lines = [
    bind('preactivations', float, isDense ? 'read_write' : 'read'),
    ...(gated ? [bind('gate', float, 'read')] : []),
    ...(isContribution ? [bind('norms', float, 'read')] : []),
    bind('indices', 'i32', 'read_write'),
    bind('weights', 'f32', 'read_write'),
    ...(saves ? [bind('kept', 'f32', 'read_write')] : []),
    bind('counts', 'u32', 'read_write'),
  ];
  /** Element `place` of a buffer, where it may lie in a vector. */
  const one = (name: string, place: string): string =>
    isVector ? `${name}[(${place}) / 4u][(${place}) % 4u]` : `${name}[${place}]`;
  const some = (name: string, place: string): string => `${name}[${isVector ? `(${place}) / 4u` : place}]`;
  const each = (line: (c: number) => string): string => times(width, line, ', ');
  const part = (name: string, c: number): string => (isVector ? `${name}[${c}]` : name);
  const gateAt = 'params.gate_base + row * params.hidden + unit';
  const activations = isVector ? `vec4f(${each((c) => `activated(s[${c}])`)})` : 'activated(s)';
  const rank = isContribution
    ? `abs(${activations}${gated ? ` * ${some('gate', gateAt)}` : ''}) * ${some('norms', 'params.norms_base + unit')}`
    : 's';
  const units = (u: number): string => `first + ${256 * width * u}u + ${width}u * t`;
  return `
struct Params { tokens: u32, hidden: u32, k: u32, nan_bits: u32, s_base: u32, gate_base: u32, norms_base: u32, indices_base: u32, weights_base: u32, kept_base: u32, counts_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
${lines.join('\n')}
var<workgroup> bins: array<atomic<u32>, 2048>;
var<workgroup> above_bits: array<atomic<u32>, 256>;
var<workgroup> equal_bits: array<atomic<u32>, 256>;
var<workgroup> has_nan: atomic<u32>;
/** Digit found, entries still wanted from its bin, entries in its bin. */
var<workgroup> found: vec3u;
${SCAN_TEXT}
${activationText(activation)}

fn value_of(row: u32, unit: u32, s: f32) -> f32 {
  return activated(s)${gated ? ` * ${one('gate', gateAt)}` : ''};
}

/** Bits of neighbouring ranks; NaN beyond the row, where \`key_of\` is 0 and nobody looks for NaN. */
fn rank_bits(row: u32, unit: u32, end: u32) -> ${word} {
  if (unit >= end) { return ${word}(0xff800000u); }
  let s = ${some('preactivations', 'params.s_base + row * params.hidden + unit')};
  return bitcast<${word}>(${rank});
}

/** Grows with the rank; -0 equals +0; 0 for NaN and -inf, which are never kept. */
fn key_of(bits: u32) -> u32 {
  let key = bits ^ (bitcast<u32>(bitcast<i32>(bits) >> 31u) | 0x80000000u);
  let is_valid = key - 0x00800000u <= 0xff000000u;
  return select(select(0u, key, is_valid), 0x80000000u, bits == 0x80000000u);
}

fn count_first(bits: u32) {
  let key = key_of(bits);
  if (key != 0u) { atomicAdd(&bins[key >> 21u], 1u); }
  else if (bits != 0xff800000u) { atomicOr(&has_nan, 1u); }
}

fn count_next(bits: u32, prefix_shift: u32, prefix: u32, shift: u32, digits: u32) {
  let key = key_of(bits);
  if ((key >> prefix_shift) == prefix && key != 0u) { atomicAdd(&bins[(key >> shift) & digits], 1u); }
}

/** Finds the bin of the k-th largest entry: the digit, how many of the bin are kept, how many it holds. */
fn search(t: u32, wanted: u32) -> vec3u {
  var counted = 0u;
  for (var i = 0u; i < 8u; i++) { counted += atomicLoad(&bins[2047u - 8u * t - i]); }
  let through = scanned(counted, t);
  if (t == 0u) { found = vec3u(0xffffffffu, 0u, 0u); }
  workgroupBarrier();
  var before = through - counted;
  if (before < wanted && wanted <= through) {
    for (var i = 0u; i < 8u; i++) {
      let bin = 2047u - 8u * t - i;
      let size = atomicLoad(&bins[bin]);
      if (before < wanted && wanted <= before + size) { found = vec3u(bin, wanted - before, size); }
      before += size;
    }
  }
  return workgroupUniformLoad(&found);
}

fn clear_bins(t: u32) {
  for (var i = t; i < 2048u; i += 256u) { atomicStore(&bins[i], 0u); }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.tokens) { return; }
  if (t == 0u) { atomicStore(&has_nan, 0u); }

  // The k-th key: \`least\` is the smallest key kept in any case, \`tied\` keys of \`equal\` are kept, lower units first.
  var prefix = 0u;
  var wanted = params.k;
  var least = 1u;
  var equal = 0u;
  var tied = 0u;
  for (var pass_index = 0u; pass_index < 3u; pass_index++) {
    let shift = select(select(0u, 10u, pass_index == 1u), 21u, pass_index == 0u);
    let prefix_shift = select(10u, 21u, pass_index == 1u);
    let digits = select(0x7ffu, 0x3ffu, pass_index == 2u);
    clear_bins(t);
    workgroupBarrier();
    for (var first = 0u; first < params.hidden; first += ${256 * width * UNROLL}u) {
      ${times(UNROLL, (u) => `let bits${u} = rank_bits(row, ${units(u)}, params.hidden);`, '\n      ')}
      if (pass_index == 0u) {
        ${times(UNROLL, (u) => times(width, (c) => `count_first(${part(`bits${u}`, c)});`, ' '), '\n        ')}
      } else {
        ${times(UNROLL, (u) => times(width, (c) => `count_next(${part(`bits${u}`, c)}, prefix_shift, prefix, shift, digits);`, ' '), '\n        ')}
      }
    }
    workgroupBarrier();
    let hit = search(t, wanted);
    if (hit.x == 0xffffffffu) { break; } // fewer than k valid units: all are kept
    prefix = (prefix << select(11u, 10u, pass_index == 2u)) | hit.x;
    wanted = hit.y;
    if (hit.y == hit.z) { // the whole bin
      least = max(prefix << shift, 1u);
      break;
    }
    if (pass_index == 2u) {
      least = prefix + 1u;
      equal = prefix;
      tied = wanted;
    }
  }
  let is_nan_row = atomicLoad(&has_nan) != 0u;
  let list = row * params.k;
  let nan = bitcast<f32>(params.nan_bits);

  // Kept units in ascending order.
  var written = 0u;
  var ties_before = 0u;
  for (var start = 0u; start < params.hidden; start += 8192u) {
    atomicStore(&above_bits[t], 0u);
    atomicStore(&equal_bits[t], 0u);
    workgroupBarrier();
    let end = min(start + 8192u, params.hidden);
    for (var first = start; first < end; first += ${256 * width * UNROLL}u) {
      ${times(UNROLL, (u) => `let bits${u} = rank_bits(row, ${units(u)}, end);`, '\n      ')}
      ${times(UNROLL, (u) => markText(u, width, units(u), part), '\n      ')}
    }
    workgroupBarrier();
    var chosen = atomicLoad(&above_bits[t]);
    var equals = atomicLoad(&equal_bits[t]);
    let own = (countOneBits(chosen) << 16u) | countOneBits(equals);
    let through = scanned(own, t);
    let before = through - own;
    var rank = ties_before + (before & 0xffffu);
    var slot = written + (before >> 16u) + min(tied, rank) - min(tied, ties_before);
    while (equals != 0u && rank < tied) {
      let bit = equals & (~equals + 1u);
      chosen |= bit;
      equals ^= bit;
      rank++;
    }
    ${isDense ? 'atomicStore(&above_bits[t], chosen);' : ''}
    while (chosen != 0u) {
      let bit = firstTrailingBit(chosen);
      chosen &= chosen - 1u;
      let unit = start + 32u * t + bit;
      let s = ${one('preactivations', 'params.s_base + row * params.hidden + unit')};
      indices[params.indices_base + list + slot] = i32(unit);
      weights[params.weights_base + list + slot] = select(value_of(row, unit, s), nan, is_nan_row);
      ${saves ? 'kept[params.kept_base + list + slot] = select(s, nan, is_nan_row);' : ''}
      slot++;
    }
    let all = scan_cells[255];
    written += (all >> 16u) + min(tied, ties_before + (all & 0xffffu)) - min(tied, ties_before);
    ties_before += all & 0xffffu;
    ${isDense ? maskText(isVector) : ''}
    workgroupBarrier();
  }
  for (var slot = written + t; slot < params.k; slot += 256u) {
    indices[params.indices_base + list + slot] = -1;
    weights[params.weights_base + list + slot] = 0.0;
    ${saves ? 'kept[params.kept_base + list + slot] = select(0.0, nan, is_nan_row);' : ''}
  }
  if (t == 0u) { counts[params.counts_base + row] = select(written, 0xffffffffu, is_nan_row); }
}`;
}

/** Sets the bits of the units of one load; those of an invocation lie in one word. */
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

function maskText(isVector: boolean): string {
  const width = isVector ? 4 : 1;
  const kept = (c: number): string =>
    `select(0.0, value_of(row, start + at + ${c}u, s${isVector ? `[${c}]` : ''}), (bits & ${1 << c}u) != 0u)`;
  const values = times(width, kept, ', ');
  return `storageBarrier();
    workgroupBarrier();
    for (var at = ${width}u * t; at < end - start; at += ${256 * width}u) {
      let place = (params.s_base + row * params.hidden + start + at)${isVector ? ' / 4u' : ''};
      let bits = atomicLoad(&above_bits[at >> 5u]) >> (at & 31u);
      if ((bits & ${width === 4 ? 15 : 1}u) != 0u) {
        let s = preactivations[place];
        preactivations[place] = ${isVector ? `vec4f(${values})` : values};
      } else {
        preactivations[place] = ${isVector ? 'vec4f()' : '0.0'};
      }
    }`;
}
