import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, writeTo } from '../../wgsl/define-kernel.js';
import { halvesOf, orderedKey32 } from '../../wgsl/numbers.js';
import { range } from '../../wgsl/text.js';
import { dropoutKeeps } from '../shared/dropout.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import type { Lists } from '../shared/lists.js';
import { numberOfKey } from '../shared/ordered-key.js';
import { visibleOf } from '../shared/validity.js';
import { TEAM, teamDirectives, teamFunctions } from './team.js';

/** What the text of the kernel depends on. */
interface KeepParameters {
  /** Keys that a list holds, or all keys of a row. */
  readonly capacity: number;
  /** Where the rows of scores are stored instead of lists: which keys of a row count. */
  readonly stored?: StoredRows;
  readonly k: number;
  readonly valueDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly dropout: boolean;
  readonly saves: boolean;
  readonly subgroups: boolean;
}

/** Options by which keys are hidden from the rows of stored scores. */
interface StoredRows {
  readonly causal: boolean;
  readonly keyLengths: boolean;
}

/**
 * From lists to the output: finds the k best of each row's list by searching for the k-th key, bit by bit, ties to the
 * lower index; puts these in ascending order of keys; then softmax, dropout and the weighted sum of their value rows.
 * One team per row, the list in registers. The order of a list never shows in the result. The lists may be whole rows of
 * stored scores, short enough for that; a row with a NaN in a valid score is a NaN row then.
 *
 * Workgroup memory: 16 bytes per kept key.
 */
const keepKernel = kernelFamily('attention sweeps keep', (p: KeepParameters) => {
  const four = p.dtype === 'f16' ? 'vec2u' : 'vec4f';
  return {
    uniforms: { ...geometryUniforms, k: 'u32', list_rows_per_head: 'u32' },
    buffers: {
      counts: optional(p.stored === undefined, read('u32')),
      lists: optional(p.stored === undefined, read('vec2u')),
      rows: optional(p.stored !== undefined, read('u32')),
      v: readFrom(four),
      out: writeTo(four),
      indices: optional(p.saves, writeTo('u32')),
      scores: optional(p.saves, writeTo('u32')),
      key_lengths: optional(p.stored?.keyLengths === true, read('i32')),
    },
    workgroup: TEAM,
    directives: teamDirectives(p),
    source: () => source(p),
  };
});

/** `rows`: scores as `recordScores` stores them. `saved`: where the kept keys also go. */
export function recordKeep(
  stream: Stream,
  parameters: Omit<KeepParameters, 'saves'>,
  geometry: PartGeometry,
  {
    saved,
    ...buffers
  }: {
    readonly counts?: Span;
    readonly lists?: Span;
    readonly rows?: Span;
    readonly key_lengths?: Span | undefined;
    readonly v: Binding;
    readonly out: Binding;
    readonly saved: Lists | undefined;
  },
): void {
  keepKernel({ ...parameters, saves: saved !== undefined }).launch(stream, {
    uniforms: { ...geometry, k: parameters.k, list_rows_per_head: saved?.rowsPerHead ?? 0 },
    buffers: { ...buffers, indices: saved?.indices, scores: saved?.scores },
    workgroups: geometry.heads * geometry.queries,
  });
}

/** Workgroup memory of the kernel. */
export function keepBytes(k: number): number {
  return 16 * k + 4 * TEAM;
}

/** Most lists fill at most this share of the registers; the rest is read only for longer lists. */
const USUAL_SHARE = 0.6;

function source(p: KeepParameters): string {
  const each = range(p.capacity / TEAM);
  const usual = Math.ceil(each.length * USUAL_SHARE);
  const half = p.dtype === 'f16';
  const quads = p.valueDim / 4;
  // Invocations that share a value row, rows at a time, and blocks of columns.
  const across = Math.min(TEAM, 2 ** Math.ceil(Math.log2(quads)));
  const abreast = TEAM / across;
  const blocks = range(Math.ceil(quads / across));
  const load = (at: string): string => (half ? `unpack_quad(v[${at}])` : `v[${at}]`);
  /** The sum of an expression over the list, over all invocations. */
  const sum = (
    name: string,
    f: (i: number) => string,
  ): string => `var ${name} = ${each.slice(0, usual).map(f).join(' + ')};
      if (is_long) { ${name} += ${each.slice(usual).map(f).join(' + ') || '0u'}; }
      ${name} = team_sum(t, ${name});`;
  const own = range(Math.ceil(p.k / TEAM));
  /** The key and the bits of the score of an entry; of stored rows, registers hold neither. */
  const [indexOf, bitsOf] =
    p.stored === undefined
      ? [(i: number) => `index_${i}`, (i: number) => `bits_${i}`]
      : [(i: number) => `(${TEAM * i}u + t)`, (i: number) => `rows[row_start + ${TEAM * i}u + t]`];
  return `
${rowAt}${p.stored ? visibleOf(p.stored.causal, p.stored.keyLengths) : ''}
${orderedKey32}
${half ? halvesOf : ''}
${p.dropout ? dropoutKeeps : ''}
${teamFunctions(p)}

const NONE = 0xffffffffu;
const NAN_ROW = 0xffffffffu;
const NAN_BITS = 0x7fc00000u;
const MINUS_INF_BITS = 0xff800000u;
const PLUS_INF_KEY = 0xff800000u;
const K = ${p.k}u;${p.dropout ? '\n// The sign of a dropped weight is set.\nconst DROPPED = 0x80000000u;' : ''}

/** Kept keys and bits of their scores as they come, then by key: (value row, bits of the weight). */
var<workgroup> chosen_keys: array<u32, ${8 * Math.ceil(p.k / 8)}>;
var<workgroup> chosen_bits: array<u32, ${p.k}>;
var<workgroup> ordered: array<vec2u, ${p.k}>;
${p.subgroups ? '' : `var<workgroup> columns: array<vec4f, ${TEAM}>;`}
${numberOfKey}
${
  half
    ? `
fn unpack_quad(words: vec2u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}`
    : ''
}
fn store_output(at: u32, value: vec4f) {
  out[at] = ${half ? 'vec2u(halves_of(value.x, value.y), halves_of(value.z, value.w))' : 'value'};
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  ${p.stored === undefined ? loadList(p, each, usual) : loadRow(each, usual)}
  var most = 0u;
  var least = NONE;
  ${each
    .map((i) => `most = max(most, key_${i}); least = min(least, select(NONE, key_${i}, key_${i} != 0u));`)
    .join('\n  ')}
  most = team_max(t, most);
  least = ~team_max(t, ~least);

  // The k-th key, and of those equal to it the index up to which they are kept.
  var threshold = 1u;
  var last = NONE;
  if (${p.stored ? 'visible' : 'n'} > K) {
    // Above the first bit in which keys differ there is nothing to search.
    ${
      p.subgroups
        ? `let differing = 32u - countLeadingZeros(most ^ least);
    threshold = select(most & ~((1u << (differing & 31u)) - 1u), 0u, differing == 32u);`
        : `let differing = 32u;
    threshold = 0u;`
    }
    var reached = 0u;
    for (var left = differing; left > 0u; left--) {
      let candidate = threshold | (1u << (left - 1u));
      ${sum('count', (i) => `u32(key_${i} >= candidate)`)}
      if (count >= K) {
        threshold = candidate;
        reached = count;
      }
      ${p.subgroups ? 'if (count == K) { break; }' : ''}
    }
    ${p.subgroups ? 'if (reached != K) {' : '{'}
      ${sum('larger', (i) => `u32(key_${i} > threshold)`)}
      last = 0u;
      for (var bit = 0x80000000u; bit != 0u; bit >>= 1u) {
        let candidate = last | bit;
        ${sum('count', (i) => `u32(key_${i} == threshold && ${indexOf(i)} < candidate)`)}
        if (count < K - larger) { last = candidate; }
      }
    }
  }
  ${p.stored ? keepAllOfFew : ''}${each
    .map((i) => `let kept_${i} = key_${i} > threshold || (key_${i} == threshold && ${indexOf(i)} <= last);`)
    .join('\n  ')}
  let mine = ${each.map((i) => `u32(kept_${i})`).join(' + ')};
  var place = team_before(t, mine);
  let m = team_sum(t, mine);
  for (var slot = t; slot < ${8 * Math.ceil(p.k / 8)}u; slot += ${TEAM}u) { chosen_keys[slot] = NONE; }
  workgroupBarrier();
  ${each
    .map(
      (i) =>
        `if (kept_${i}) { chosen_keys[place] = ${indexOf(i)}; chosen_bits[place] = ${bitsOf(i)}; place++; }`,
    )
    .join('\n  ')}
  workgroupBarrier();

  // Ascending keys: the place of each is the number of smaller ones.
  ${own
    .map(
      (i) => `let slot_of_${i} = min(t + ${TEAM * i}u, K - 1u);
  let own_${i} = chosen_keys[slot_of_${i}]; let own_bits_${i} = chosen_bits[slot_of_${i}]; var smaller_${i} = 0u;`,
    )
    .join('\n  ')}
  for (var other = 0u; other < m; other += 8u) {
    ${range(8)
      .map(
        (u) => `{
      let key = chosen_keys[other + ${u}u];
      ${own.map((i) => `smaller_${i} += u32(key < own_${i});`).join(' ')}
    }`,
      )
      .join('\n    ')}
  }
  let largest = number_of(most);
  let value_start = (row.local_head / params.group) * params.key_length;
  ${
    p.saves
      ? `let place_of_list = (row.local_head * params.list_rows_per_head + row.local_query) * K;
  for (var slot = t + m; slot < K; slot += ${TEAM}u) {
    indices[params.indices_base + place_of_list + slot] = NONE;
    scores[params.scores_base + place_of_list + slot] = select(MINUS_INF_BITS, NAN_BITS, is_nan_row);
  }`
      : ''
  }
  ${own
    .map(
      (i) => `if (t + ${TEAM * i}u < m) {
    ordered[smaller_${i}] = vec2u(
      (value_start + own_${i}) * ${quads}u + params.v_base / 4u,
      bitcast<u32>(exp(bitcast<f32>(own_bits_${i}) - largest))${
        p.dropout
          ? ` | select(DROPPED, 0u, is_kept(vec4u(row.batch, row.head, row.query, smaller_${i})))`
          : ''
      },
    );
    ${
      p.saves
        ? `indices[params.indices_base + place_of_list + smaller_${i}] = own_${i};
    scores[params.scores_base + place_of_list + smaller_${i}] = own_bits_${i};`
        : ''
    }
  }`,
    )
    .join('\n  ')}
  workgroupBarrier();

  var total = vec4f();
  for (var slot = t; slot < m; slot += ${TEAM}u) { total.x += bitcast<f32>(ordered[slot].y${p.dropout ? ' & ~DROPPED' : ''}); }
  ${fold('total', 1, p.subgroups)}
  let lane = t % ${across}u;
  ${blocks.map((b) => `var sum_${b} = vec4f();`).join(' ')}
  for (var slot = t / ${across}u; slot < m; slot += ${8 * abreast}u) {
    ${range(8)
      .map(
        (u) => `let slot_${u} = slot + ${u * abreast}u;
    let entry_${u} = ordered[min(slot_${u}, m - 1u)];`,
      )
      .join('\n    ')}
    ${blocks
      .map((b) => {
        const column = `lane + ${b * across}u`;
        const guard = (b + 1) * across <= quads ? '' : `if (${column} < ${quads}u) `;
        return `${guard}{
      ${range(8)
        .map((u) => `let value_${u} = ${load(`entry_${u}.x + ${column}`)};`)
        .join('\n      ')}
      ${range(8)
        .map((u) => {
          const bits = `entry_${u}.y`;
          const weight = p.dropout
            ? `select(bitcast<f32>(${bits}) * params.kept_scale, 0.0, ${bits} >= DROPPED)`
            : `bitcast<f32>(${bits})`;
          return `if (slot_${u} < m) { sum_${b} = fma(vec4f(${weight}), value_${u}, sum_${b}); }`;
        })
        .join('\n      ')}
    }`;
      })
      .join('\n    ')}
  }
  let nan = bitcast<f32>(NAN_BITS | (params.k & 1u));
  let at = params.out_base / 4u + (row.local_head * params.query_length + row.local_query) * ${quads}u;
  ${blocks
    .map((b) => {
      const column = `lane + ${b * across}u`;
      return `{
    ${fold(`sum_${b}`, across, p.subgroups)}
    if (t < ${across}u && ${column} < ${quads}u) {
      var value = sum_${b} / total.x;
      if (m == 0u) { value = vec4f(); }
      if (is_nan_row || most >= PLUS_INF_KEY) { value = vec4f(nan); }
      store_output(at + ${column}, value);
    }
  }`;
    })
    .join('\n  ')}
}`;
}

/** Statements that load a list: `n` entries of it, and for each of the invocation's its key, index and bits. */
function loadList({ capacity }: KeepParameters, each: readonly number[], usual: number): string {
  return `let listed = counts[index];
  let is_nan_row = listed == NAN_ROW;
  let n = select(min(listed, ${capacity}u), 0u, is_nan_row);
  let is_long = n > ${TEAM * usual}u;

  // Unused places have the key 0, below that of every number.
  ${each.map((i) => `var key_${i} = 0u; var index_${i} = NONE; var bits_${i} = 0u;`).join('\n  ')}
  ${each
    .map(
      (i) => `if (${TEAM * i}u + t < n) {
    let entry = lists[index * ${capacity}u + ${TEAM * i}u + t];
    index_${i} = entry.x; bits_${i} = entry.y; key_${i} = key_of(entry.y);
  }`,
    )
    .join('\n  ')}`;
}

/** The same for a row of stored scores: every visible key whose score is above -inf is an entry. */
function loadRow(each: readonly number[], usual: number): string {
  return `let visible = visible_of(row);
  let row_start = index * ((params.key_length + 3u) / 4u * 4u);
  let is_long = visible > ${TEAM * usual}u;
  var found_nan = 0u;
  ${each.map((i) => `var key_${i} = 0u;`).join(' ')}
  ${each
    .map(
      (i) => `if (${TEAM * i}u + t < visible) {
    let bits = rows[row_start + ${TEAM * i}u + t];
    found_nan |= u32((bits & 0x7fffffffu) > 0x7f800000u);
    if (bits != MINUS_INF_BITS) { key_${i} = key_of(bits); }
  }`,
    )
    .join('\n  ')}
  let is_nan_row = team_max(t, found_nan) != 0u;
  if (is_nan_row) { ${each.map((i) => `key_${i} = 0u;`).join(' ')} }
  let n = team_sum(t, ${each.map((i) => `u32(key_${i} != 0u)`).join(' + ')});`;
}

/** For stored rows: barriers stand only behind conditions that are the same for all invocations, as `n` is not. */
const keepAllOfFew = `if (n <= K) { threshold = 1u; last = NONE; }
  `;

/** Statements that add up `name`, in a fixed order, over the invocations whose distance is a multiple of `across`. */
function fold(name: string, across: number, subgroups: boolean): string {
  const reaches = range(Math.log2(TEAM / across)).map((step) => TEAM / 2 ** (step + 1));
  if (subgroups)
    return reaches.map((reach) => `${name} += subgroupShuffleXor(${name}, ${reach}u);`).join('\n    ');
  return reaches
    .map(
      (reach) => `workgroupBarrier();
    columns[t] = ${name};
    workgroupBarrier();
    ${name} += columns[t ^ ${reach}u];`,
    )
    .join('\n    ');
}
