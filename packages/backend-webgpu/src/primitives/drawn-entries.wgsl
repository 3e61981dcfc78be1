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
    ${four_entries}
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
