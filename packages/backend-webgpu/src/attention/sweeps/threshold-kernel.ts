import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { orderedKey32 } from '../../wgsl/numbers.js';
import { range } from '../../wgsl/text.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import { bitsOfKey } from '../shared/ordered-key.js';
import { TILE_KEYS } from '../shared/scores/product.js';
import { visibleOf } from '../shared/validity.js';
import { tileSees } from './row-tile.js';
import { TEAM, teamDirectives, teamFunctions } from './team.js';

/** What the text of the kernel depends on. */
interface ThresholdParameters {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly groups: number;
  /** Rows per tile of the sweeps. */
  readonly rows: 64 | 128;
  readonly subgroups: boolean;
}

/**
 * From the maxima of a row's groups to its threshold, just below the rank-th largest of them; the lowest finite number
 * if there are fewer, or if the row sees no more keys than a list holds. Starts the row's count at 0. A row whose
 * scores could overflow or be NaN, because of its query or a key that it sees, gets UNSAFE as its count.
 *
 * One team per row.
 */
const thresholdKernel = kernelFamily('attention sweeps threshold', (p: ThresholdParameters) => ({
  uniforms: { ...geometryUniforms, shift: 'u32', rank: 'u32', capacity: 'u32', largest_safe: 'f32' },
  buffers: {
    q: readFrom('u32'),
    maxima: read('u32'),
    unsafe_key: read('u32'),
    thresholds: write('u32'),
    counts: write('u32'),
    key_lengths: optional(p.keyLengths, read('i32')),
  },
  workgroup: TEAM,
  directives: teamDirectives(p),
  source: () => source(p),
}));

export function recordThreshold(
  stream: Stream,
  parameters: ThresholdParameters,
  geometry: PartGeometry,
  own: Readonly<Record<'shift' | 'rank' | 'capacity' | 'largest_safe', number>>,
  buffers: Readonly<Record<'maxima' | 'unsafe_key' | 'thresholds' | 'counts', Span>> & {
    readonly q: Binding;
    readonly key_lengths: Span | undefined;
  },
): void {
  thresholdKernel(parameters).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers,
    workgroups: geometry.heads * geometry.queries,
  });
}

/** The count of a row that only the slow path may decide. */
const UNSAFE = 0x80000000;

function source(p: ThresholdParameters): string {
  const each = range(p.groups / TEAM);
  const element = p.dtype === 'f32' ? 'q[at]' : 'bitcast<u32>(unpack2x16float(q[at / 2u])[at % 2u])';
  return `
${rowAt}
${visibleOf(p.causal, p.keyLengths)}
${tileSees(p.rows)}
${orderedKey32}
${bitsOfKey}
${teamFunctions(p)}

const LOWEST_BITS = 0xff7fffffu;
/** \`key_of(LOWEST_BITS)\`. */
const LOWEST_KEY = 0x00800000u;

/** Groups of the row's tile that the first sweep wrote. */
fn written_groups(index: u32) -> u32 {
  let rows = params.group * params.queries;
  let first_row = (index % rows) / ${p.rows}u * ${p.rows}u;
  let shift = params.shift;
  let count = (tile_sees(index / rows, first_row, rows).y + (1u << shift) - 1u) >> shift;
  let tiles = (count + ${TILE_KEYS - 1}u) / ${TILE_KEYS}u;
  return select(min(32u * tiles, ${p.groups}u), ${TILE_KEYS}u * tiles, count <= ${p.groups}u);
}

fn is_unsafe(row: Row, t: u32, visible: u32) -> bool {
  let key_head = (params.first_head + row.local_head) / params.group;
  if (unsafe_key[key_head] < visible) { return true; }
  var found = 0u;
  let start = params.q_base + (row.local_head * params.query_length + row.local_query) * ${p.headDim}u;
  for (var d = t; d < ${p.headDim}u; d += ${TEAM}u) {
    let at = start + d;
    if ((${element} & 0x7fffffffu) > bitcast<u32>(params.largest_safe)) { found = 1u; }
  }
  return team_max(t, found) != 0u;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let visible = visible_of(row);
  let rank = params.rank;
  var bits = LOWEST_BITS;
  let found_unsafe = is_unsafe(row, t, visible);
  if (visible > params.capacity) {
    let written = written_groups(index);
    ${each
      .map(
        (i) => `var key_${i} = key_of(maxima[index * ${p.groups}u + ${TEAM * i}u + t]);
    if (key_${i} <= LOWEST_KEY || ${TEAM * i}u + t >= written) { key_${i} = 0u; }`,
      )
      .join('\n    ')}
    var prefix = 0u;
    for (var bit = 0x80000000u; bit > 0x20u; bit >>= 1u) {
      let candidate = prefix | bit;
      let reached = team_sum(t, ${each.map((i) => `u32(key_${i} >= candidate)`).join(' + ')});
      if (reached >= rank) { prefix = candidate; }
      ${p.subgroups ? 'if (reached == rank) { break; }' : ''}
    }
    if (prefix > LOWEST_KEY) {
      bits = bits_of_key(prefix - 1u);
    }
  }
  if (t == 0u) {
    thresholds[index] = bits;
    counts[index] = select(0u, ${UNSAFE}u, found_unsafe);
  }
}`;
}
