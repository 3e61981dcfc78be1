struct Params { seed: vec2u, rows: u32, width: u32, heads: u32, queries: u32, first_query: u32, extents_0: u32, extents_1: u32, extents_2: u32, strides_0: u32, strides_1: u32, strides_2: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> visible: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> positive: array<i32>;
@group(0) @binding(4) var<storage, read_write> negative: array<i32>;
const INVOCATIONS = 256u;
const LANES = 16u;
fn multiply_high(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let carry = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (carry >> 16u);
}
// The four words at a counter, by Philox4x32-10.
fn philox(counter: vec4u, seed: vec2u) -> vec4u {
  var c = counter;
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    c = vec4u(
      multiply_high(0xcd9e8d57u, c.z) ^ c.y ^ key.x,
      0xcd9e8d57u * c.z,
      multiply_high(0xd2511f53u, c.x) ^ c.w ^ key.y,
      0xd2511f53u * c.x,
    );
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
// The words of the places (a, b, c, d) to (a, b, c, d + 3), where d is a multiple of 4.
fn random_words(place: vec4u, seed: vec2u) -> vec4u {
  return philox(vec4u(place.xyz, place.w >> 2u), seed);
}
// The word of a place.
fn random_word(place: vec4u, seed: vec2u) -> u32 {
  return random_words(place, seed)[place.w & 3u];
}
fn seen_from(row: u32) -> u32 {
  let outer = row / params.extents_2;
  return outer / params.extents_1 * params.strides_0 + outer % params.extents_1 * params.strides_1
    + row % params.extents_2 * params.strides_2;
}
fn load_weights(start: u32, j: u32, width: u32) -> vec4f {
  var quad = vec4f();
  if (j < width) { quad = weights[(start + j) / 4u]; }
  return quad;
}
fn load_visible(seen: u32, j: u32, width: u32) -> vec4<bool> {
  return visible[(seen + j) / 4u] != vec4u();
}
/** Below all words. */
const NONE = -8589934592.0;

/** The largest words so far, and their places: of the entries with a weight, and of others. */
var<workgroup> words: array<vec2f, INVOCATIONS>;
var<workgroup> places: array<vec2i, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = row * params.width;
  let seen = seen_from(row);
  let own = local % LANES;
  let matrix = row / params.queries;
  let query = params.first_query + row % params.queries;
  var word = vec2f(NONE);
  var place = vec2i(-1);
  for (var j = 4u * own; j < width; j += 4u * LANES) {
    let is_inside = vec4u(j) + vec4u(0u, 1u, 2u, 3u) < vec4u(width);
    let is_weighted = load_weights(start, j, width) > vec4f();
    let is_other = load_visible(seen, j, width) & is_inside & !is_weighted;
    // Words are most of the work: none where all entries are hidden.
    if (!any(is_weighted | is_other)) { continue; }
    let counter = vec4u(matrix / params.heads, matrix % params.heads, query, j);
    let drawn = vec4f(bitcast<vec4i>(random_words(counter, params.seed)));
    let is_larger_0 = vec2<bool>(is_weighted[0], is_other[0]) & (vec2f(drawn[0]) > word);
    word = select(word, vec2f(drawn[0]), is_larger_0);
    place = select(place, vec2i(i32(j + 0u)), is_larger_0);
    let is_larger_1 = vec2<bool>(is_weighted[1], is_other[1]) & (vec2f(drawn[1]) > word);
    word = select(word, vec2f(drawn[1]), is_larger_1);
    place = select(place, vec2i(i32(j + 1u)), is_larger_1);
    let is_larger_2 = vec2<bool>(is_weighted[2], is_other[2]) & (vec2f(drawn[2]) > word);
    word = select(word, vec2f(drawn[2]), is_larger_2);
    place = select(place, vec2i(i32(j + 2u)), is_larger_2);
    let is_larger_3 = vec2<bool>(is_weighted[3], is_other[3]) & (vec2f(drawn[3]) > word);
    word = select(word, vec2f(drawn[3]), is_larger_3);
    place = select(place, vec2i(i32(j + 3u)), is_larger_3);
  }
  words[local] = word;
  places[local] = place;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (own < step) {
      let other = words[local + step];
      let there = places[local + step];
      let is_first = (other > word) | ((other == word) & (there < place));
      word = select(word, other, is_first);
      place = select(place, there, is_first);
      words[local] = word;
      places[local] = place;
    }
    workgroupBarrier();
  }
  if (own == 0u && width > 0u) {
    positive[row] = place.x;
    negative[row] = place.y;
  }
}