@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = id.x + id.y * groups.x * INVOCATIONS;
  if (row >= params.rows) { return; }
  let start = params.x_base + row * params.width;
  // Stays 0, below every key, where fewer than k lie above -inf.
  var threshold = 0u;
  for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
    var reached = 0u;
    for (var j = 0u; j < params.width; j++) {
      let key = key_of(load_x(start + j));
      if (key > MINUS_INF_KEY && key >= (threshold | bit)) { reached++; }
    }
    if (reached >= params.k) { threshold |= bit; }
  }
  var above = 0u;
  for (var j = 0u; j < params.width; j++) {
    let key = key_of(load_x(start + j));
    if (key > max(threshold, MINUS_INF_KEY)) { above++; }
  }
  var ties = params.k - above;
  var slot = 0u;
  for (var j = 0u; j < params.width; j++) {
    let bits = load_x(start + j);
    let key = key_of(bits);
    if (key <= MINUS_INF_KEY || key < threshold) { continue; }
    if (key == threshold) {
      if (ties == 0u) { continue; }
      ties--;
    }
    keep(row, slot, bits, j);
    slot++;
  }
  for (; slot < params.k; slot++) { keep(row, slot, MINUS_INF, 0xffffffffu); }
}
