
struct Params { query_base: u32, gradient_base: u32, pieces: u32, piece_entries: u32 }

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> query: array<u32>;
fn load_query(at: u32) -> f32 { return unpack2x16float(query[at / 2u])[at % 2u]; }

@group(0) @binding(2) var<storage, read> gradient: array<u32>;
fn load_gradient(at: u32) -> f32 { return unpack2x16float(gradient[at / 2u])[at % 2u]; }
@group(0) @binding(3) var<storage, read> sorted_rows: array<u32>;
@group(0) @binding(4) var<storage, read> sorted_weights: array<vec2f>;
var<workgroup> staged_rows: array<u32, 64>;
var<workgroup> staged_weights: array<vec2f, 64>;
var<workgroup> parts: array<f32, 64>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
fn gathered(start: u32, end: u32, column: u32, t: u32) -> f32 {
  let part = t / 8u;
  var sum = f32();
  for (var first = start; first < end; first += 64u) {
    let count = min(64u, end - first);
    workgroupBarrier();
    if (t < count) {
      staged_rows[t] = sorted_rows[first + t];
      staged_weights[t] = sorted_weights[first + t];
    }
    workgroupBarrier();
    if (column < 5u) {
      for (var i = part; i < count; i += 8u) {
        sum += staged_weights[i].y * load_query(params.query_base + staged_rows[i] * 5u + column);
      }
    } else if (column < 8u) {
      for (var i = part; i < count; i += 8u) {
        sum += staged_weights[i].x
          * load_gradient(params.gradient_base + staged_rows[i] * 3u + column - 5u);
      }
    }
  }
  workgroupBarrier();
  parts[t] = sum;
  workgroupBarrier();
  if (part == 0u) {
    for (var other = 1u; other < 8u; other++) { sum += parts[other * 8u + t]; }
  }
  return sum;
}
@group(0) @binding(5) var<storage, read> piece_keys: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let piece = group_index(group, groups);
  if (piece >= params.pieces) { return; }
  let ends = piece_keys[piece];
  if (ends.x == 0u || ends.x != ends.y) { return; }
  let start = piece * params.piece_entries;
  for (var first = 0u; first < 8u; first += 8u) {
    let column = first + t % 8u;
    let sum = gathered(start, start + params.piece_entries, column, t);
    if (t < 8u && column < 8u) { sums[piece * 8u + column] = sum; }
  }
}