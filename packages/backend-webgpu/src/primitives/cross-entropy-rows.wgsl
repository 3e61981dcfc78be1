/** Rows of a workgroup. */
const ROWS = INVOCATIONS / LANES;

/** Bits of a row's loss, in its first invocation; writes the row's statistics. A running maximum needs a single pass. */
fn row_loss(row: u32, local: u32) -> u32 {
  var label = -1;
  if (row < params.rows) { label = targets[row]; }
  // Nothing is read of a row that is left out.
  let width = select(0u, params.classes, label != -1);
  let start = row * params.classes;
  var mine = MINUS_INF_KEY;
  var part = 0.0;
  var total = 0.0;
  for (var j = 4u * (local % LANES); j < width; j += 4u * LANES) {
    let bits = load_quad(start, j, width);
#if is_smooth
    total += total_of(select(vec4f(), bitcast<vec4f>(bits), vec4u(j, j + 1u, j + 2u, j + 3u) < vec4u(width)));
#endif
    ${running_sum}
  }
  let key = row_key(local, mine);
  let largest = float_of(key);
  let sum = joined_sum(local, mine, part, key);
#if is_smooth
  let mean = row_sum(local, total) / f32(params.classes);
#endif
  if (local % LANES != 0u || row >= params.rows) { return 0u; }
  if (label == -1) {
    statistics[row] = vec2u();
    return 0u;
  }
  if (key == BAD || key == MINUS_INF_KEY) {
    statistics[row] = vec2u(NAN_BITS);
    return NAN_BITS;
  }
  let log_sum = log(sum);
  statistics[row] = bitcast<vec2u>(vec2f(largest, log_sum));
  if (label < 0 || u32(label) >= params.classes) { return NAN_BITS; }
  let picked = bitcast<f32>(load_one(start + u32(label))) - largest;
#if is_smooth
  let likely = picked * (1.0 - params.smoothing) + (mean - largest) * params.smoothing;
#else
  let likely = picked;
#endif
  return bitcast<u32>(log_sum - likely);
}
