import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, readFrom, write, writeTo } from '../../wgsl/define-kernel.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { range } from '../../wgsl/text.js';
import {
  FEW_INVOCATIONS,
  type FewRowsShape,
  fewRowsDeclarations,
  fewRowsOperand,
  fewRowsProducts,
  fewRowsScore,
  fewRowsStart,
  keysOfTile,
  lanesOf,
  loadPadded,
  rowTilesOf,
} from '../few-rows/few-rows.js';
import { geometryUniforms, keyHeadOf } from '../shared/geometry.js';
import { optionBuffers } from '../shared/options.js';
import { loadQuad } from '../shared/scores/product.js';
import type { ExactCall } from './kernel.js';
import { sigmoidFunctions } from './kernel-sigmoid.js';
import { storageType, storeVector } from './storage.js';

/** What the text of the kernel depends on. */
export interface FewExactParameters extends FewRowsShape {
  readonly valueDim: number;
  /** Whether weights are sigmoids of the scores, which need no maximum and no total. */
  readonly sigmoid: boolean;
  /** Whether each workgroup takes a segment of the keys, and another kernel joins them; see `join-segments`. */
  readonly segmented: boolean;
}

/**
 * Exact attention of few rows. The invocations are strings of lanes: each string has a softmax with a running maximum of
 * its own over its share of the keys of a tile, and the strings are joined in order at the end. A hidden key adds nothing,
 * whatever its value row holds; a NaN or +inf in a valid score makes its row NaN.
 *
 * One pass over k and v per tile of rows. Workgroup memory: 14 KiB. Core WebGPU only.
 */
const exactKernel = kernelFamily('attention few exact', (p: FewExactParameters) => ({
  uniforms: { ...geometryUniforms, rows_per_key_head: 'u32', segments: 'u32', shift: 'f32' },
  buffers: {
    q: readFrom(fewRowsOperand(p.headDim, p.dtype)),
    k: readFrom(fewRowsOperand(p.headDim, p.dtype)),
    v: readFrom(fewRowsOperand(p.valueDim, p.dtype)),
    out: optional(!p.segmented, writeTo(storageType(p.valueDim, p.dtype))),
    sums: optional(p.segmented, write('vec4f')),
    ...optionBuffers(p),
  },
  workgroup: FEW_INVOCATIONS,
  source: () => source(p),
}));

/** Records a part; `sums`: what the segments leave for `recordJoin`; without segments, `out` takes their place. */
export function recordFewExact(
  stream: Stream,
  parameters: FewExactParameters,
  {
    geometry,
    rowsOfKeyHead,
    segments,
    options,
    shift,
    ...buffers
  }: ExactCall & { readonly rowsOfKeyHead: number },
): void {
  exactKernel(parameters).launch(stream, {
    uniforms: { ...geometry, rows_per_key_head: rowsOfKeyHead, segments, shift },
    buffers: { ...buffers, ...options },
    workgroups: segments * rowTilesOf(geometry.heads * geometry.queries, rowsOfKeyHead, parameters.rows),
  });
}

function source(p: FewExactParameters): string {
  const keys = keysOfTile(p.rows);
  const rows = range(p.rows);
  const values = lanesOf(p.valueDim);
  const strings = FEW_INVOCATIONS / values.lanes;
  const columns = range(values.each);
  return `${keyHeadOf}
${fewRowsDeclarations(p)}
${loadQuad('load_value', 'v', { headDim: p.valueDim, dtype: p.dtype })}
${p.dtype === 'f16' && !p.segmented ? halvesOf : ''}
${p.segmented ? '' : storeVector('store_output', 'out', p.valueDim, p.dtype)}

const LOWEST = -3.40282346e38;
${p.sigmoid ? sigmoidFunctions : ''}

var<workgroup> scores: array<u32, ${keys * p.rows}>;
var<workgroup> tops: array<f32, ${strings}>;
var<workgroup> totals: array<f32, ${strings}>;
var<workgroup> string_sums: array<vec4f, INVOCATIONS>;
/** A bit for each row with a valid score that is NaN or +inf. */
var<workgroup> wrong: atomic<u32>;

/** Joins the strings: returns the sum for this lane's quad, scaled to the largest maximum. */
fn join_sums(t: u32, sum: vec4f) -> vec4f {
  workgroupBarrier();
  string_sums[t] = sum;
  workgroupBarrier();
  var whole = vec4f();
  if (t < ${values.lanes}u) {
    for (var other = t; other < INVOCATIONS; other += ${values.lanes}u) { whole += string_sums[other]; }
  }
  return whole;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let row_tiles = params.heads * params.queries / params.rows_per_key_head
    * ((params.rows_per_key_head + ${p.rows - 1}u) / ${p.rows}u);
  let job = id.x + id.y * groups.x;
  let segment = job / row_tiles;
  if (segment >= params.segments) { return; }
  let row_tile = job % row_tiles;
  ${fewRowsStart(p)}
  let visible_to_any = ${rows.slice(1).reduce((text, r) => `max(${text}, visible_${r})`, 'visible_0')};
  let key_tiles = (visible_to_any + ${keys - 1}u) / ${keys}u;
  let value_lane = t % ${values.lanes}u;
  let string = t / ${values.lanes}u;
  if (t == 0u) { atomicStore(&wrong, 0u); }
  ${rows
    .map(
      (r) =>
        `var top_${r} = LOWEST; var total_${r} = 0.0; ${columns.map((c) => `var sum_${r}_${c} = vec4f();`).join(' ')}`,
    )
    .join('\n  ')}
  // Segments take tiles in turn: what runs together reads neighbouring memory, and causality leaves all of them alike.
  for (var tile = segment; tile < key_tiles; tile += params.segments) {
    let first_key = tile * ${keys}u;
    ${fewRowsProducts(p)}
    workgroupBarrier();
    if (t < ${keys * p.rows}u) {
      ${fewRowsScore(p)}
      let is_wrong = (bits & 0x7f800000u) == 0x7f800000u && bits != HIDDEN;
      if (is_wrong) { atomicOr(&wrong, 1u << (t / ${keys}u)); }
      scores[t] = select(bits, HIDDEN, is_wrong);
    }
    workgroupBarrier();
    ${rows.map((r) => runningMaximum(r, p, strings, columns.length)).join('\n    ')}
    ${range(keys / strings)
      .map((i) => addValues(i, p, strings))
      .join('\n    ')}
  }
  workgroupBarrier();
  let wrong_rows = atomicLoad(&wrong);
  let nan = bitcast<f32>(0x7fc00000u + (params.heads & 0u));
  ${rows.map((r) => finishRow(r, p, strings)).join('\n  ')}
}`;
}

function scoreAt(r: number, i: number, p: FewExactParameters, strings: number): string {
  return `scores[${r * keysOfTile(p.rows) + i * strings}u + string]`;
}

/** The scores `s_R_I` of the string's keys; the row's sums are scaled to its new maximum. */
function runningMaximum(r: number, p: FewExactParameters, strings: number, columns: number): string {
  const own = range(keysOfTile(p.rows) / strings);
  const loads = own.map((i) => `let s_${r}_${i} = ${scoreAt(r, i, p, strings)};`).join(' ');
  if (p.sigmoid) return loads;
  return `${loads}
    var new_${r} = top_${r};
    ${own
      .map(
        (i) => `new_${r} = max(new_${r}, select(bitcast<f32>(s_${r}_${i}), LOWEST, s_${r}_${i} == HIDDEN));`,
      )
      .join(' ')}
    let fade_${r} = exp(top_${r} - new_${r});
    top_${r} = new_${r};
    total_${r} *= fade_${r};
    ${range(columns)
      .map((c) => `sum_${r}_${c} *= fade_${r};`)
      .join(' ')}`;
}

function addValues(i: number, p: FewExactParameters, strings: number): string {
  const values = lanesOf(p.valueDim);
  const columns = range(values.each);
  return `{
      let value_row = key_start + min(first_key + ${i * strings}u + string, params.key_length - 1u);
      ${columns
        .map(
          (c) =>
            `let v_${c} = ${loadPadded('value', 'value_row', `(value_lane + ${c * values.lanes}u)`, values)};`,
        )
        .join('\n      ')}
      ${range(p.rows)
        .map(
          (r) => `if (s_${r}_${i} != HIDDEN) {
        let w = ${p.sigmoid ? `weights_of(vec4f(bitcast<f32>(s_${r}_${i}))).x` : `exp(bitcast<f32>(s_${r}_${i}) - top_${r})`};
        total_${r} += w;
        ${columns.map((c) => `sum_${r}_${c} += w * v_${c};`).join(' ')}
      }`,
        )
        .join('\n      ')}
    }`;
}

function finishRow(r: number, p: FewExactParameters, strings: number): string {
  const values = lanesOf(p.valueDim);
  const fours = values.quads;
  const columns = range(values.each);
  const store = (c: number): string => {
    const quad = `t + ${c * values.lanes}u`;
    return p.segmented
      ? `if (${quad} < ${fours}u) { sums[at + ${quad}] = whole_${c}; }`
      : `if (${quad} < ${fours}u) {
        store_output(out_start, row_${r}.local_query, 4u * (${quad}), select(whole_${c} * share, vec4f(nan), vec4<bool>(is_wrong)));
      }`;
  };
  return `{
    workgroupBarrier();
    if (value_lane == 0u) { tops[string] = top_${r}; totals[string] = total_${r}; }
    workgroupBarrier();
    var top = LOWEST;
    for (var other = 0u; other < ${strings}u; other++) { top = max(top, tops[other]); }
    var total = 0.0;
    for (var other = 0u; other < ${strings}u; other++) { total += totals[other] * exp(max(tops[other] - top, -1000.0)); }
    let fade = exp(max(top_${r} - top, -1000.0));
    ${columns.map((c) => `let whole_${c} = join_sums(t, fade * sum_${r}_${c});`).join('\n    ')}
    let is_wrong = (wrong_rows & ${1 << r}u) != 0u;
    if (t < ${values.lanes}u && is_row_${r}) {
      ${
        p.segmented
          ? `let at = (segment * params.heads * params.queries + index_${r}) * ${fours + 1}u;
      if (t == 0u) { sums[at + ${fours}u] = vec4f(top, total, select(0.0, 1.0, is_wrong), 0.0); }`
          : `let share = ${p.sigmoid ? '1.0' : 'select(0.0, 1.0 / total, total > 0.0)'};
      let out_start = params.out_base + row_${r}.local_head * params.query_length * ${p.valueDim}u;`
      }
      ${columns.map(store).join('\n      ')}
    }
  }`;
}
