import { groupIndex } from '../../shared/reductions.js';
import { baseOf, loadRow, powerOfTwo, vectorType } from '../layout/rows.js';
import type { GatherShape } from './gather-shape.js';

export const PLAIN_INVOCATIONS = 64;

/**
 * Sums over runs of the sorted list, for both gradients at once: columns of dK (weight dS, rows of q), then of dV
 * (weight P m, rows of dO). `gathered(start, end, column, t)` is the sum over list entries start .. end - 1 of one
 * column, for the invocations of part 0. Entries are dealt to the parts in turn; parts are added in order.
 */
function gathering({ headDim, valueDim, layout }: GatherShape): {
  text: string;
  type: string;
  across: number;
  columns: number;
  keyColumns: number;
} {
  const { width } = layout;
  const type = vectorType(width);
  const keyColumns = headDim / width;
  const valueColumns = valueDim / width;
  const columns = keyColumns + valueColumns;
  const across = Math.min(PLAIN_INVOCATIONS, powerOfTwo(columns));
  const parts = PLAIN_INVOCATIONS / across;
  const text = `
${loadRow('query', layout)}
${loadRow('gradient', layout)}
var<workgroup> staged_rows: array<u32, INVOCATIONS>;
var<workgroup> staged_weights: array<vec2f, INVOCATIONS>;
var<workgroup> parts: array<${type}, INVOCATIONS>;
${groupIndex}
fn gathered(start: u32, end: u32, column: u32, t: u32) -> ${type} {
  let part = t / ${across}u;
  let query_base = ${baseOf('query', layout)};
  let gradient_base = ${baseOf('gradient', layout)};
  var sum = ${type}();
  for (var first = start; first < end; first += INVOCATIONS) {
    let count = min(INVOCATIONS, end - first);
    workgroupBarrier();
    if (t < count) {
      staged_rows[t] = sorted_rows[first + t];
      staged_weights[t] = sorted_weights[first + t];
    }
    workgroupBarrier();
    if (column < ${keyColumns}u) {
      for (var i = part; i < count; i += ${parts}u) {
        sum += staged_weights[i].y * load_query(query_base + staged_rows[i] * ${keyColumns}u + column);
      }
    } else if (column < ${columns}u) {
      for (var i = part; i < count; i += ${parts}u) {
        sum += staged_weights[i].x
          * load_gradient(gradient_base + staged_rows[i] * ${valueColumns}u + column - ${keyColumns}u);
      }
    }
  }
  workgroupBarrier();
  parts[t] = sum;
  workgroupBarrier();
  if (part == 0u) {
    for (var other = 1u; other < ${parts}u; other++) { sum += parts[other * ${across}u + t]; }
  }
  return sum;
}`;
  return { text, type, across, columns, keyColumns };
}

/**
 * Sums of whole pieces of the sorted list that belong to a single key, one workgroup each: sums[piece][columns of dK
 * and dV]. This spreads a key chosen by every query over many workgroups. Other pieces are left alone.
 */
export function plainPieces(shape: GatherShape): string {
  const { text, across, columns } = gathering(shape);
  return `${text}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let piece = group_index(group, groups);
  if (piece >= params.pieces) { return; }
  let ends = piece_keys[piece];
  if (ends.x == 0u || ends.x != ends.y) { return; }
  let start = piece * params.piece_entries;
  for (var first = 0u; first < ${columns}u; first += ${across}u) {
    let column = first + t % ${across}u;
    let sum = gathered(start, start + params.piece_entries, column, t);
    if (t < ${across}u && column < ${columns}u) { sums[piece * ${columns}u + column] = sum; }
  }
}`;
}

/**
 * dK and dV, one workgroup per key: its entries in the order of the rows, with whole pieces taken from `plainPieces`'
 * sums in order. Where `adds` is 1, adds to the results of earlier parts of the queries. Passes over memory: the list
 * once, rows of q and dO once per entry. Workgroup memory: 1.8 KiB.
 */
export function plainKeys(shape: GatherShape): string {
  const { layout } = shape;
  const { text, across, columns, keyColumns } = gathering(shape);
  return `${text}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let key = group_index(group, groups);
  if (key >= params.keys) { return; }
  let start = ranges[key].x;
  let end = start + ranges[key].y;
  let first_piece = (start + params.piece_entries - 1u) / params.piece_entries;
  let end_piece = end / params.piece_entries;
  let has_pieces = end_piece > first_piece;
  for (var first = 0u; first < ${columns}u; first += ${across}u) {
    let column = first + t % ${across}u;
    var sum = gathered(start, select(end, first_piece * params.piece_entries, has_pieces), column, t);
    if (has_pieces) {
      if (t < ${across}u && column < ${columns}u) {
        for (var piece = first_piece; piece < end_piece; piece++) { sum += sums[piece * ${columns}u + column]; }
      }
      sum += gathered(end_piece * params.piece_entries, end, column, t);
    }
    if (t < ${across}u && column < ${columns}u) {
      if (column < ${keyColumns}u) {
        let at = ${baseOf('key_result', layout)} + key * ${keyColumns}u + column;
        sum *= params.scale;
        if (params.adds != 0u) { sum += key_result[at]; }
        key_result[at] = sum;
      } else {
        let at = ${baseOf('value_result', layout)} + key * ${columns - keyColumns}u + column - ${keyColumns}u;
        if (params.adds != 0u) { sum += value_result[at]; }
        value_result[at] = sum;
      }
    }
  }
}`;
}
