

struct Geometry {
  query_length: u32, key_length: u32, query_heads: u32, group: u32,
  first_head: u32, heads: u32, first_query: u32, queries: u32,
  q_base: u32, k_base: u32, v_base: u32, out_base: u32,
  scale: f32, reach: u32, list_rows_per_head: u32, unused_0: u32,
  mask_stride: vec4u,
  bias_stride: vec4u,
  seed: vec2u, dropout_threshold: u32, kept_scale: f32,
  indices_base: u32, scores_base: u32, visible_keys: u32, unused_1: u32,
  own: vec4u,
  more: vec4u,
}
@group(0) @binding(0) var<uniform> geometry: Geometry;

struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / geometry.queries;
  let local_query = row % geometry.queries;
  let head = geometry.first_head + local_head;
  let batch = head / geometry.query_heads;
  return Row(local_head, batch, head % geometry.query_heads, geometry.first_query + local_query, local_query);
}
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4u>;

fn visible_of(row: Row) -> u32 {
  var visible = geometry.key_length;
  visible = min(visible, u32(max(0, i32(row.query + 1u + geometry.key_length) - i32(geometry.query_length))));
  
  return visible;
}

const HIDDEN = 0xff800000u;



fn scores_of(dots: vec4f, row: Row, first_key: u32, visible: u32) -> vec4u {
  let keys = first_key + vec4u(0u, 1u, 2u, 3u);
  let bits = bitcast<vec4u>(geometry.scale * dots);
  return select(vec4u(HIDDEN), bits, keys < vec4u(visible));
}
fn load_query(row: u32, quad: u32) -> vec4f {
  
  return q[geometry.q_base / 4u + row * 16u + quad];
}
fn load_key(row: u32, quad: u32) -> vec4f {
  
  return k[geometry.k_base / 4u + row * 16u + quad];
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let each = (geometry.visible_keys + 255u) / 256u;
  let job = id.x + id.y * groups.x;
  let index = job / each;
  if (index >= geometry.heads * geometry.queries) { return; }
  let row = row_at(index);
  let visible = visible_of(row);
  let first_key = 4u * (job % each * 64u + t);
  if (first_key >= visible) { return; }
  let query = row.local_head * geometry.query_length + row.local_query;
  let key_start = row.local_head / geometry.group * geometry.key_length;
  let last = geometry.key_length - 1u;
  var dots = vec4f();
  for (var quad = 0u; quad < 16u; quad++) {
    let a = load_query(query, quad);
    let b_0 = load_key(key_start + min(first_key + 0u, last), quad);
    let b_1 = load_key(key_start + min(first_key + 1u, last), quad);
    let b_2 = load_key(key_start + min(first_key + 2u, last), quad);
    let b_3 = load_key(key_start + min(first_key + 3u, last), quad);
    dots[0] = fma(a.x, b_0.x, dots[0]); dots[0] = fma(a.y, b_0.y, dots[0]); dots[0] = fma(a.z, b_0.z, dots[0]); dots[0] = fma(a.w, b_0.w, dots[0]);
    dots[1] = fma(a.x, b_1.x, dots[1]); dots[1] = fma(a.y, b_1.y, dots[1]); dots[1] = fma(a.z, b_1.z, dots[1]); dots[1] = fma(a.w, b_1.w, dots[1]);
    dots[2] = fma(a.x, b_2.x, dots[2]); dots[2] = fma(a.y, b_2.y, dots[2]); dots[2] = fma(a.z, b_2.z, dots[2]); dots[2] = fma(a.w, b_2.w, dots[2]);
    dots[3] = fma(a.x, b_3.x, dots[3]); dots[3] = fma(a.y, b_3.y, dots[3]); dots[3] = fma(a.z, b_3.z, dots[3]); dots[3] = fma(a.w, b_3.w, dots[3]);
  }
  scores[index * ((geometry.key_length + 3u) / 4u) + first_key / 4u] = scores_of(dots, row, first_key, visible);
}