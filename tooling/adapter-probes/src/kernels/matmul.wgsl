// One invocation per element of out [batch, rows, columns]; sums in f32, in ascending order of the inner index.
struct Sizes { count: u32, rows: u32, inner: u32, columns: u32, a_batch: u32, b_batch: u32, a_turned: u32, b_turned: u32 }
@group(0) @binding(0) var<storage, read> sizes: Sizes;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * 64u;
  if (at >= sizes.count) { return; }
  let column = at % sizes.columns;
  let row = (at / sizes.columns) % sizes.rows;
  let batch = at / (sizes.columns * sizes.rows);
  let a_start = batch * sizes.a_batch + row * select(sizes.inner, 1u, sizes.a_turned == 1u);
  let a_step = select(1u, sizes.rows, sizes.a_turned == 1u);
  let b_start = batch * sizes.b_batch + column * select(1u, sizes.inner, sizes.b_turned == 1u);
  let b_step = select(sizes.columns, 1u, sizes.b_turned == 1u);
  var sum = 0.0;
  for (var i = 0u; i < sizes.inner; i++) { sum += a[a_start + i * a_step] * b[b_start + i * b_step]; }
  out[at] = sum;
}
