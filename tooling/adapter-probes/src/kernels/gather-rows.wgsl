// One invocation per element of out [batch, taken, width]. Copies bits: f32, i32 and bool alike.
struct Sizes { count: u32, rows: u32, taken: u32, width: u32 }
@group(0) @binding(0) var<storage, read> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> indices: array<i32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * 64u;
  if (at >= sizes.count) { return; }
  let slot = at / sizes.width;
  let row = indices[slot];
  if (row < 0) {
    out[at] = 0u;
    return;
  }
  let batch = slot / sizes.taken;
  out[at] = x[(batch * sizes.rows + u32(row)) * sizes.width + at % sizes.width];
}
