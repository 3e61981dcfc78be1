struct Params { rows: u32, columns: u32, inner: u32, row_tiles: u32, tiles: u32, a_base: u32, b_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
const INVOCATIONS = 64u;
var<workgroup> a_slice: array<vec4f, 64>;
var<workgroup> b_slice: array<vec4f, 64>;

fn load_a(row: u32, column: u32, rows: u32, columns: u32) -> vec4f {
  if (row >= rows || column >= columns) { return vec4f(); }
  return a[(params.a_base + row * columns + column) / 4u];
}

fn load_b(row: u32, column: u32, rows: u32, columns: u32) -> vec4f {
  if (row >= rows || column >= columns) { return vec4f(); }
  return b[(params.b_base + row * columns + column) / 4u];
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let tile = group.x + group.y * groups.x;
  if (tile >= params.tiles) { return; }
  let row0 = (tile % params.row_tiles) * 32u;
  let column0 = (tile / params.row_tiles) * 32u;
  let rows = t / 8u;
  let columns = t % 8u;
  var sum0_0 = vec4f();
  var sum1_0 = vec4f();
  var sum2_0 = vec4f();
  var sum3_0 = vec4f();
  var p0 = vec4f(); var p1 = vec4f(); var p2 = vec4f(); var p3 = vec4f();
  if (t < 16u) {
      let along = t % 2u; let across = t / 2u;
      p0 = load_a(row0 + 4u * across + 0u, 0u + 4u * along, params.rows, params.inner);
      p1 = load_a(row0 + 4u * across + 1u, 0u + 4u * along, params.rows, params.inner);
      p2 = load_a(row0 + 4u * across + 2u, 0u + 4u * along, params.rows, params.inner);
      p3 = load_a(row0 + 4u * across + 3u, 0u + 4u * along, params.rows, params.inner);
    } else if (t < 32u) {
      let across = (t - 16u) % 8u; let along = (t - 16u) / 8u;
      p0 = load_b(0u + 4u * along + 0u, column0 + 4u * across, params.inner, params.columns);
      p1 = load_b(0u + 4u * along + 1u, column0 + 4u * across, params.inner, params.columns);
      p2 = load_b(0u + 4u * along + 2u, column0 + 4u * across, params.inner, params.columns);
      p3 = load_b(0u + 4u * along + 3u, column0 + 4u * across, params.inner, params.columns);
    }
  for (var k0 = 0u; k0 < params.inner; k0 += 8u) {
    if (t < 16u) {
      let along = t % 2u; let across = t / 2u;
      a_slice[(4u * along + 0u) * 8u + across] = vec4f(p0[0], p1[0], p2[0], p3[0]);
      a_slice[(4u * along + 1u) * 8u + across] = vec4f(p0[1], p1[1], p2[1], p3[1]);
      a_slice[(4u * along + 2u) * 8u + across] = vec4f(p0[2], p1[2], p2[2], p3[2]);
      a_slice[(4u * along + 3u) * 8u + across] = vec4f(p0[3], p1[3], p2[3], p3[3]);
    } else if (t < 32u) {
      let across = (t - 16u) % 8u; let along = (t - 16u) / 8u;
      b_slice[(4u * along + 0u) * 8u + across] = p0;
      b_slice[(4u * along + 1u) * 8u + across] = p1;
      b_slice[(4u * along + 2u) * 8u + across] = p2;
      b_slice[(4u * along + 3u) * 8u + across] = p3;
    }
    workgroupBarrier();
    if (k0 + 8u < params.inner) {
      if (t < 16u) {
      let along = t % 2u; let across = t / 2u;
      p0 = load_a(row0 + 4u * across + 0u, (k0 + 8u) + 4u * along, params.rows, params.inner);
      p1 = load_a(row0 + 4u * across + 1u, (k0 + 8u) + 4u * along, params.rows, params.inner);
      p2 = load_a(row0 + 4u * across + 2u, (k0 + 8u) + 4u * along, params.rows, params.inner);
      p3 = load_a(row0 + 4u * across + 3u, (k0 + 8u) + 4u * along, params.rows, params.inner);
    } else if (t < 32u) {
      let across = (t - 16u) % 8u; let along = (t - 16u) / 8u;
      p0 = load_b((k0 + 8u) + 4u * along + 0u, column0 + 4u * across, params.inner, params.columns);
      p1 = load_b((k0 + 8u) + 4u * along + 1u, column0 + 4u * across, params.inner, params.columns);
      p2 = load_b((k0 + 8u) + 4u * along + 2u, column0 + 4u * across, params.inner, params.columns);
      p3 = load_b((k0 + 8u) + 4u * along + 3u, column0 + 4u * across, params.inner, params.columns);
    }
    }
    {
      let x0 = a_slice[0u + rows];
      let y0 = b_slice[0u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
{
      let x0 = a_slice[8u + rows];
      let y0 = b_slice[8u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
{
      let x0 = a_slice[16u + rows];
      let y0 = b_slice[16u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
{
      let x0 = a_slice[24u + rows];
      let y0 = b_slice[24u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
{
      let x0 = a_slice[32u + rows];
      let y0 = b_slice[32u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
{
      let x0 = a_slice[40u + rows];
      let y0 = b_slice[40u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
{
      let x0 = a_slice[48u + rows];
      let y0 = b_slice[48u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
{
      let x0 = a_slice[56u + rows];
      let y0 = b_slice[56u + columns];
      sum0_0 = fma(vec4f(x0[0]), y0, sum0_0);
      sum1_0 = fma(vec4f(x0[1]), y0, sum1_0);
      sum2_0 = fma(vec4f(x0[2]), y0, sum2_0);
      sum3_0 = fma(vec4f(x0[3]), y0, sum3_0);
    }
    workgroupBarrier();
  }
  { let row = row0 + 0u + 4u * rows;
    if (row < params.rows) {
      { let column = column0 + 0u + 4u * columns;
      if (column < params.columns) { let at = (params.out_base + row * params.columns + column) / 4u; out[at] = sum0_0; } }
    } }
  { let row = row0 + 1u + 4u * rows;
    if (row < params.rows) {
      { let column = column0 + 0u + 4u * columns;
      if (column < params.columns) { let at = (params.out_base + row * params.columns + column) / 4u; out[at] = sum1_0; } }
    } }
  { let row = row0 + 2u + 4u * rows;
    if (row < params.rows) {
      { let column = column0 + 0u + 4u * columns;
      if (column < params.columns) { let at = (params.out_base + row * params.columns + column) / 4u; out[at] = sum2_0; } }
    } }
  { let row = row0 + 3u + 4u * rows;
    if (row < params.rows) {
      { let column = column0 + 0u + 4u * columns;
      if (column < params.columns) { let at = (params.out_base + row * params.columns + column) / 4u; out[at] = sum3_0; } }
    } }
}