
struct Params {
  query_base: u32, gradient_base: u32, keys: u32, piece_entries: u32,
  key_result_base: u32, value_result_base: u32, scale: f32, adds: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> query: array<vec4f>;
fn load_query(at: u32) -> vec4f { return query[at]; }

@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
fn load_gradient(at: u32) -> vec4f { return gradient[at]; }
@group(0) @binding(3) var<storage, read> sorted_rows: array<u32>;
@group(0) @binding(4) var<storage, read> sorted_weights: array<vec2f>;
var<workgroup> staged_rows: array<u32, 64>;
var<workgroup> staged_weights: array<vec2f, 64>;
var<workgroup> parts: array<vec4f, 64>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
fn gathered(start: u32, end: u32, column: u32, t: u32) -> vec4f {
  let part = t / 32u;
  var sum = vec4f();
  for (var first = start; first < end; first += 64u) {
    let count = min(64u, end - first);
    workgroupBarrier();
    if (t < count) {
      staged_rows[t] = sorted_rows[first + t];
      staged_weights[t] = sorted_weights[first + t];
    }
    workgroupBarrier();
    if (column < 16u) {
      for (var i = part; i < count; i += 2u) {
        sum += staged_weights[i].y * load_query(params.query_base + staged_rows[i] * 16u + column);
      }
    } else if (column < 32u) {
      for (var i = part; i < count; i += 2u) {
        sum += staged_weights[i].x
          * load_gradient(params.gradient_base + staged_rows[i] * 16u + column - 16u);
      }
    }
  }
  workgroupBarrier();
  parts[t] = sum;
  workgroupBarrier();
  if (part == 0u) {
    for (var other = 1u; other < 2u; other++) { sum += parts[other * 32u + t]; }
  }
  return sum;
}
@group(0) @binding(5) var<storage, read> ranges: array<vec2u>;
@group(0) @binding(6) var<storage, read> sums: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> key_result: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> value_result: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let key = group_index(group, groups);
  if (key >= params.keys) { return; }
  let start = ranges[key].x;
  let end = start + ranges[key].y;
  let first_piece = (start + params.piece_entries - 1u) / params.piece_entries;
  let end_piece = end / params.piece_entries;
  let has_pieces = end_piece > first_piece;
  for (var first = 0u; first < 32u; first += 32u) {
    let column = first + t % 32u;
    var sum = gathered(start, select(end, first_piece * params.piece_entries, has_pieces), column, t);
    if (has_pieces) {
      if (t < 32u && column < 32u) {
        for (var piece = first_piece; piece < end_piece; piece++) { sum += sums[piece * 32u + column]; }
      }
      sum += gathered(end_piece * params.piece_entries, end, column, t);
    }
    if (t < 32u && column < 32u) {
      if (column < 16u) {
        let at = params.key_result_base + key * 16u + column;
        sum *= params.scale;
        if (params.adds != 0u) { sum += key_result[at]; }
        key_result[at] = sum;
      } else {
        let at = params.value_result_base + key * 16u + column - 16u;
        if (params.adds != 0u) { sum += value_result[at]; }
        value_result[at] = sum;
      }
    }
  }
}