struct Params { count: u32, queries: u32, keys: u32, slots: u32, width: u32, blocks: u32, weights_base: u32, graph_base: u32, rows_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> graph: array<i32>;
@group(0) @binding(3) var<storage, read> rows: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
const INVOCATIONS = 64u;
alias Sum = vec4f;
const ACROSS = 32u;
const QUERIES = 2u;
/** Quads of a query that are held at a time. */
const TILE = 64u;
const UNUSED = 0xffffffffu;
// Where the rows of four neighbouring slots begin, in units from the first row, and their weights: a query's after another's.
var<workgroup> listed: array<vec4u, QUERIES * TILE>;
var<workgroup> factors: array<vec4f, QUERIES * TILE>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = workgroup.x + workgroup.y * groups.x;
  let first = at / params.blocks * QUERIES;
  if (first >= params.count) { return; }
  let query = local / ACROSS;
  let unit = at % params.blocks * ACROSS + local % ACROSS;
  var sum = Sum();
  for (var start = 0u; start < params.slots; start += 4u * TILE) {
    for (var quad = local; quad < QUERIES * TILE; quad += INVOCATIONS) {
      let row = first + quad / TILE;
      let slot = start + 4u * (quad % TILE);
      var places = vec4u(UNUSED);
      var weighing = vec4f();
      for (var i = 0u; i < 4u; i++) {
        if (row < params.count && slot + i < params.slots) {
          let key = graph[params.graph_base + row * params.slots + slot + i];
          if (key >= 0 && u32(key) < params.keys) {
            places[i] = (row / params.queries * params.keys + u32(key)) * params.width;
            weighing[i] = weights[params.weights_base + row * params.slots + slot + i];
          }
        }
      }
      listed[quad] = places;
      factors[quad] = weighing;
    }
    workgroupBarrier();
    if (unit < params.width) {
      let quads = min(TILE, (params.slots - start + 3u) / 4u);
      for (var q = 0u; q < quads; q++) {
        let places = listed[query * TILE + q];
        let weighing = factors[query * TILE + q];
        if (all(places == vec4u(UNUSED))) { continue; }
        // All four are on their way before the first is added. What an unused slot reads is not added.
        let begins = params.rows_base + unit + select(places, vec4u(), places == vec4u(UNUSED));
        let row_0 = rows[begins.x];
        let row_1 = rows[begins.y];
        let row_2 = rows[begins.z];
        let row_3 = rows[begins.w];
        if (places.x != UNUSED) { sum += weighing.x * row_0; }
        if (places.y != UNUSED) { sum += weighing.y * row_1; }
        if (places.z != UNUSED) { sum += weighing.z * row_2; }
        if (places.w != UNUSED) { sum += weighing.w * row_3; }
      }
    }
    workgroupBarrier();
  }
  if (unit < params.width && first + query < params.count) {
    out[params.out_base + (first + query) * params.width + unit] = sum;
  }
}