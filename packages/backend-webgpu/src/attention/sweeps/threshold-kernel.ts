import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { orderedKey32 } from '../../wgsl/numbers.js';
import { times } from '../../wgsl/text.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import { bitsOfKey } from '../shared/ordered-key.js';
import { TILE_KEYS } from '../shared/scores/product.js';
import { visibleOf } from '../shared/validity.js';
import { GUARD_PARTS, unsafeWord } from './guard-kernel.js';
import { tileSees } from './row-tile.js';
import { TEAM, teamDirectives, teamFunctions } from './team.js';
import { text } from './threshold.wgsl.js';

/** What the text of the kernel depends on. */
interface ThresholdParameters {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly relativeBias: boolean;
  readonly groups: number;
  /** Rows per tile of the sweeps. */
  readonly rows: 64 | 128;
  readonly subgroups: boolean;
}

/**
 * From the maxima of a row's groups to its threshold, just below the rank-th largest of them; the lowest finite number
 * if there are fewer, or if the row sees no more keys than a list holds. Starts the row's count at 0, and the counts of
 * slow rows. A row whose scores could overflow or be NaN, because of its query or a key that it sees, gets UNSAFE as
 * its count.
 *
 * One team per row.
 */
const thresholdKernel = kernelFamily('attention sweeps threshold', (p: ThresholdParameters) => ({
  uniforms: {
    ...geometryUniforms,
    shift: 'u32',
    rank: 'u32',
    capacity: 'u32',
    largest_safe: 'f32',
    bias_guard: 'u32',
  },
  buffers: {
    q: readFrom('u32'),
    maxima: read('u32'),
    unsafe_keys: read('u32'),
    thresholds: write('u32'),
    counts: write('u32'),
    slow: write('u32'),
    key_lengths: optional(p.keyLengths, read('i32')),
  },
  workgroup: TEAM,
  directives: teamDirectives(p),
  source: () => source(p),
}));

/** `bias_guard`: where the list of the relative bias begins in `unsafe_keys`. */
export function recordThreshold(
  stream: Stream,
  parameters: ThresholdParameters,
  geometry: PartGeometry,
  own: Readonly<Record<'shift' | 'rank' | 'capacity' | 'largest_safe' | 'bias_guard', number>>,
  buffers: Readonly<Record<'maxima' | 'unsafe_keys' | 'thresholds' | 'counts' | 'slow', Span>> & {
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
  const each = p.groups / TEAM;
  return `
${rowAt}
${visibleOf(p.causal, p.keyLengths)}
${tileSees(p.rows)}
${orderedKey32}
${bitsOfKey}
${unsafeWord}
${teamFunctions(p)}

${fill(text, {
  ...{ rows: p.rows, groups: p.groups, head_dim: p.headDim, team: TEAM, unsafe: UNSAFE },
  ...{ tile_keys: TILE_KEYS, last_key: TILE_KEYS - 1, guard_parts: GUARD_PARTS },
  bias_is_unsafe: p.relativeBias ? ' || unsafe_keys[params.bias_guard + t] < visible' : '',
  element: p.dtype === 'f32' ? 'q[at]' : 'bitcast<u32>(unpack2x16float(q[at / 2u])[at % 2u])',
  load_keys: times(
    each,
    (i) => `var key_${i} = key_of(maxima[index * ${p.groups}u + ${TEAM * i}u + t]);
    if (key_${i} <= LOWEST_KEY || ${TEAM * i}u + t >= written) { key_${i} = 0u; }`,
    '\n    ',
  ),
  own_reached: times(each, (i) => `u32(key_${i} >= candidate)`, ' + '),
  stop_at_rank: p.subgroups ? 'if (reached == rank) { break; }' : '',
})}`;
}
