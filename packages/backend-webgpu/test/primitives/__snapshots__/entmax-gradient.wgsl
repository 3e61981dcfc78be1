struct Params { rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> given: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
const INVOCATIONS = 256u;
const LANES = 256u;
/** Sums that join the parts of a row's invocations, in front of the last step. */
const JOINS = 16u;

var<workgroup> pairs: array<vec2f, INVOCATIONS>;
var<workgroup> joined_pairs: array<vec2f, INVOCATIONS / LANES * JOINS>;

/**
 * The sums over the row of two numbers, for each of its invocations, always in the same order. In two steps: each invocation
 * of the last one reads all sums of the one before, which costs fewer barriers than halving. Rows that are not `wanted` take
 * part in the barriers alone.
 */
fn row_pair(local: u32, mine: vec2f, wanted: bool) -> vec2f {
  let own = local % LANES;
  let first = local - own;
  var total = vec2f();
  pairs[local] = mine;
  workgroupBarrier();
  let place = first / LANES * JOINS;
  if (wanted && own < JOINS) {
    var sum = vec2f();
    for (var i = own; i < LANES; i += JOINS) { sum += pairs[first + i]; }
    joined_pairs[place + own] = sum;
  }
  workgroupBarrier();
  if (wanted) {
    for (var i = 0u; i < JOINS; i++) { total += joined_pairs[place + i]; }
  }
  return total;
}
fn load_weights(start: u32, j: u32, width: u32) -> vec4f {
  var quad = vec4f();
  if (j < width) { quad = weights[(start + j) / 4u]; }
  return quad;
}
fn load_given(start: u32, j: u32, width: u32) -> vec4f {
  var quad = vec4f();
  if (j < width) { quad = given[(start + j) / 4u]; }
  return quad;
}
fn store_quad(start: u32, j: u32, width: u32, quad: vec4f) {
  if (j < width) { out[(start + j) / 4u] = quad; }
}
fn total_of(values: vec4f) -> f32 { return (values.x + values.y) + (values.z + values.w); }
/** s, and s g, summed. */
fn terms(root: vec4f, given: vec4f) -> vec2f { return vec2f(total_of(root), total_of(root * given)); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = row * params.width;
  let first = 4u * (local % LANES);
  var part = vec2f();
  for (var j = first; j < width; j += 4u * LANES) {
    part += terms(sqrt(load_weights(start, j, width)), load_given(start, j, width));
  }
  let sums = row_pair(local, part, true);
  let mean = sums.y / select(sums.x, 1.0, sums.x == 0.0);
  for (var j = first; j < width; j += 4u * LANES) {
    let root = sqrt(load_weights(start, j, width));
    store_quad(start, j, width, root * (load_given(start, j, width) - mean));
  }
}