const LOWEST = -3.40282346e38;
const NOT_FINITE = 0x7f800000u;
var<workgroup> tops: array<f32, INVOCATIONS>;
var<workgroup> totals: array<f32, INVOCATIONS>;
var<workgroup> means: array<f32, INVOCATIONS>;
var<workgroup> is_bad: atomic<u32>;
var<workgroup> is_unusual: atomic<u32>;

#if dropout
// The first pass notes which weights are kept, a bit each, of as many fours as a word has room for.
const NOTED = 8u * INVOCATIONS;
const BITS = vec4u(1u, 2u, 4u, 8u);
fn note_of(kept: vec4<bool>, quad: u32) -> u32 {
  return dot(select(vec4u(), BITS, kept), vec4u(1u)) << (4u * (quad / INVOCATIONS));
}
fn noted(notes: u32, quad: u32) -> vec4<bool> {
  return (vec4u(notes >> (4u * (quad / INVOCATIONS))) & BITS) != vec4u();
}
fn factors_of(kept: vec4<bool>) -> vec4f { return select(vec4f(), vec4f(params.kept_scale), kept); }
#endif

#if softmax
/** exp(x) for x <= 0, which may be beyond all numbers. */
fn weight_of(x: f32) -> f32 { return exp(max(x, -1000.0)); }
fn weights_of(x: vec4f) -> vec4f { return exp(max(x, vec4f(-1000.0))); }

fn join(a: u32, b: u32) {
  let top = max(tops[a], tops[b]);
  let left = weight_of(tops[a] - top);
  let right = weight_of(tops[b] - top);
  tops[a] = top;
  totals[a] = left * totals[a] + right * totals[b];
  means[a] = left * means[a] + right * means[b];
}
#endif

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let r = id.x + id.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  let visible = visible_of(row);
  let start = r * params.row_fours;
  if (t == 0u) { atomicStore(&is_bad, 0u); atomicStore(&is_unusual, 0u); }
  workgroupBarrier();
  let gradient_at = params.gradient_base + (row.local_head * params.query_length + row.local_query) * params.width;
  for (var c = t; c < params.width; c += INVOCATIONS) {
    if ((bitcast<u32>(load_gradient(gradient_at + c)) & NOT_FINITE) == NOT_FINITE) { atomicStore(&is_unusual, 1u); }
  }
  var top = LOWEST;
  var total = 0.0;
  var mean = 0.0;
#if dropout
  var notes = 0u;
#endif
  for (var quad = t; 4u * quad < visible; quad += INVOCATIONS) {
    let keys = 4u * quad + vec4u(0u, 1u, 2u, 3u);
    let bits = scores[start + quad];
    let valid = (keys < vec4u(visible)) & (bits != vec4u(0xff800000u));
    let wrong = valid & ((bits & vec4u(NOT_FINITE)) == vec4u(NOT_FINITE));
    if (any(wrong)) { atomicStore(&is_bad, 1u); }
#if softmax
    let counts = valid & !wrong;
    let score = select(vec4f(LOWEST), bitcast<vec4f>(bits), counts);
    let next = max(top, max(max(score.x, score.y), max(score.z, score.w)));
    let shrink = weight_of(top - next);
    let weight = select(vec4f(), weights_of(score - next), counts);
#endif
#if dropout
    let kept = are_kept(vec4u(row.batch, row.head, row.query, keys.x));
    if (quad < NOTED) { notes |= note_of(kept, quad); }
    let value = factors_of(kept) * products[start + quad];
#else
    let value = products[start + quad];
#endif
#if softmax
    total = total * shrink + weight.x + weight.y + weight.z + weight.w;
    let part = select(vec4f(), weight * value, counts);
    mean = mean * shrink + part.x + part.y + part.z + part.w;
    top = next;
#endif
  }
#if softmax
  tops[t] = top;
  totals[t] = total;
  means[t] = mean;
#endif
  workgroupBarrier();
  ${join_all}
  let bad = atomicLoad(&is_bad) != 0u;
  if (t == 0u && atomicLoad(&is_unusual) != 0u) {
    atomicStore(&unusual[1u + atomicAdd(&unusual[0], 1u)], r);
  }
#if softmax
  top = tops[0];
  let share = select(0.0, 1.0 / totals[0], totals[0] > 0.0);
  mean = share * means[0];
#endif
  // From bits that no compiler knows: it may take a constant NaN for a mistake.
  let nan = bitcast<f32>(0x7fc00000u | (params.heads & 0u));
  for (var quad = t; 4u * quad < params.visible_keys; quad += INVOCATIONS) {
    let keys = 4u * quad + vec4u(0u, 1u, 2u, 3u);
    let bits = scores[start + quad];
    let valid = (keys < vec4u(visible)) & (bits != vec4u(0xff800000u));
    let score = select(vec4f(LOWEST), bitcast<vec4f>(bits), valid);
#if softmax
    let weight = share * weights_of(score - top);
    let steepness = weight;
#else
    let weight = weights_of(score);
    let steepness = weight * (vec4f(1.0) - weight);
#endif
#if dropout
    var kept = noted(notes, quad);
    if (quad >= NOTED) { kept = are_kept(vec4u(row.batch, row.head, row.query, keys.x)); }
    let factor = factors_of(kept);
    let slope = steepness * (factor * products[start + quad] - mean);
    let weight_bits = bitcast<vec4u>(select(weight * factor, vec4f(nan), vec4<bool>(bad)));
#else
    let slope = steepness * (products[start + quad] - mean);
    let weight_bits = bitcast<vec4u>(select(weight, vec4f(nan), vec4<bool>(bad)));
#endif
    scores[start + quad] = select(vec4u(${hidden_weight}), weight_bits, valid);
    products[start + quad] = select(vec4f(), select(slope, vec4f(nan), vec4<bool>(bad)), valid);
  }
}
