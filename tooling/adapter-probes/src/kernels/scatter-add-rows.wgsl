// One invocation per element of out [batch, rows, width]: it looks at every update, in ascending order. No atomics,
// hence the same bits every time; far too slow for anything but a probe.
struct Sizes { count: u32, rows: u32, updates: u32, width: u32 }
@group(0) @binding(0) var<storage, read> sizes: Sizes;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> updates: array<ELEMENT>;
@group(0) @binding(3) var<storage, read_write> out: array<ELEMENT>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * 64u;
  if (at >= sizes.count) { return; }
  let row = i32((at / sizes.width) % sizes.rows);
  let first = at / (sizes.width * sizes.rows) * sizes.updates;
  var sum = ELEMENT(0);
  for (var i = first; i < first + sizes.updates; i++) {
    if (indices[i] == row) { sum += updates[i * sizes.width + at % sizes.width]; }
  }
  out[at] = sum;
}
