import { range } from '../../wgsl/text.js';
import { keyOfColumn, ROWS } from './score-tile.js';

/**
 * A relative bias, by distance, minus that of keys far before the query, where most keys are: those need nothing
 * added, and the threshold moves by `far_bias`. In the filter's units a bias is divided by the row's unit; it is
 * rounded upwards by more than the error of any sum with it, so that the filter lists what it should.
 */
export function relativeDeclarations(reach: number): string {
  return `var<workgroup> biases: array<f32, ${2 * reach + 1}>;
var<workgroup> odd_biases: atomic<u32>;
var<workgroup> odd_found: u32;
const REACH = ${reach};`;
}

/** Statements before the sweeps: the biases of the head, and where near keys begin. */
export function relativePrepare(reach: number, subgroups: number): string {
  return `if (t == 0u) { atomicStore(&odd_biases, 0u); }
  workgroupBarrier();
  for (var i = t; i < ${2 * reach + 1}u; i += ${32 * subgroups}u) {
    let bias = tables[params.table_at + tables[params.buckets_at + i] * params.query_heads + flat % params.query_heads];
    biases[i] = bitcast<f32>(bias);
    if ((bias & 0x7fffffffu) > 0x49742400u) { atomicStore(&odd_biases, 1u); } // above 1e6, infinite or NaN
  }
  workgroupBarrier();
  if (t == 0u) { odd_found = atomicLoad(&odd_biases); }
  let has_odd_bias = workgroupUniformLoad(&odd_found) != 0u;
  let far_bias = biases[0];
  let per_unit_bias = 1.0 / max(unit.x, 1e-30);
  let position = i32(min(first_query + subgroup * ${ROWS}u + lane, last_query)) + params.query_start;
  let near_from = max(0, i32(first_query) + params.query_start - ${reach + 15});`;
}

/** Statements that add the bias to the scores of a tile. */
export function addRelative(j: number): string {
  return `if (i32(16u * tile${j}) >= near_from) {
        ${range(16)
          .map(
            (c) => `{
          let apart = i32(16u * tile${j} + ${keyOfColumn(c)}u) - position;
          let bias = (biases[u32(clamp(apart + REACH, 0, 2 * REACH))] - far_bias) * per_unit_bias;
          x${c} += bias + ${2 ** -20} * abs(bias);
        }`,
          )
          .join('\n        ')}
      }`;
}
