/** Hits of the tile at hand by row, and where they go in the row's list. */
var<workgroup> tile_counts: array<atomic<u32>, ${rows}>;
var<workgroup> tile_starts: array<u32, ${rows}>;

/** A bit for each of four scores above the threshold. */
fn above(scores: vec4f, threshold: f32) -> u32 {
  return dot(select(vec4u(), vec4u(1u, 2u, 4u, 8u), scores > vec4f(threshold)), vec4u(1u));
}

/** A bit for each of the keys 4 tx .. and 4 tx + 64 .. of a tile that the row can see. */
fn seen(index: u32, first: u32) -> u32 {
  let visible = vec4u(visible_of(row_at(index)));
  let keys = first + vec4u(0u, 1u, 2u, 3u);
  let bits = vec4u(1u, 2u, 4u, 8u);
  return dot(select(vec4u(), bits, keys < visible), vec4u(1u))
    | (dot(select(vec4u(), bits, keys + 64u < visible), vec4u(1u)) << 4u);
}

fn store_hits(list: u32, first_place: u32, hits: u32, first_key: u32, near: vec4f, far: vec4f) {
  var left = hits;
  var place = first_place;
  while (left != 0u) {
    let bit = firstTrailingBit(left);
    left &= left - 1u;
    if (place < params.capacity) {
      let quad = select(near, far, (bit & 4u) != 0u);
      let pair = select(quad.xy, quad.zw, (bit & 2u) != 0u);
      let score = select(pair.x, pair.y, (bit & 1u) != 0u);
      lists[list * params.capacity + place] = vec2u(first_key + (bit & 3u) + 16u * (bit & 4u), bitcast<u32>(score));
    }
    place++;
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = params.group * params.queries;
  let row_tiles = (rows + ${last_row}u) / ${rows}u;
  let segments = (params.end_key - params.first_key + params.segment - 1u) / params.segment;
  let job = id.x + id.y * groups.x;
  if (job >= segments * row_tiles * (params.heads / params.group)) { return; }
  let segment = params.first_key + params.segment * (job % segments);
  let first_row = ${rows}u * (job / segments % row_tiles);
  let key_head = job / segments / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let end = min(min(segment + params.segment, params.end_key), sees.y);
  if (segment >= end) { return; }
  let index_start = key_head * rows + first_row;
  ${places}
  if (t < ${rows}u) { atomicStore(&tile_counts[t], 0u); }
  // Rows beyond the last list nothing: no score is above infinity, which must not be a constant of the shader. Tests
  // of rows where hits are found made the sweep a third slower.
  let infinity = bitcast<f32>(0x7f800000u + (rows >> 31u));
  ${thresholds}
  ${start}
  for (var first = segment; first < end; first += ${tile_keys}u) {
    ${products}
    let first_key = first + 4u * tx;
    let is_whole = first + ${tile_keys}u <= sees.x;
    // Eight bits a row: which of its scores are hits, and the place of the first of them among the tile's.
    var near_hits = 0u;
    var far_hits = 0u;
    var near_places = 0u;
    var far_places = 0u;
    ${find_hits}
    workgroupBarrier();
    if (t < ${rows}u) {
      let count = atomicLoad(&tile_counts[t]);
      if (count != 0u) {
        tile_starts[t] = atomicAdd(&counts[index_start + t], count);
        atomicStore(&tile_counts[t], 0u);
      }
    }
    workgroupBarrier();
    ${store_hits}
  }
}
