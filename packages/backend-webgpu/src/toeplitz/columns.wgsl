#if is_read
/** Two columns at a position, as a complex number; zero beyond the text. */
fn columns_of_${name}(lane: Lane, position: u32) -> vec2f {
  var value = vec2f();
  if (position < params.tokens) {
    let at = params.${name}_base + lane.column + position * params.columns;
    value.x = ${name}[at];
    if (lane.has_second) { value.y = ${name}[at + 1u]; }
  }
  return value;
}
#else
/** The inverse, of what transforms there and back leave. */
fn store_columns(lane: Lane, position: u32, value: vec2f) {
  if (position >= params.tokens) { return; }
  let at = params.${name}_base + lane.column + position * params.columns;
  let made = value * power_of_two(-i32(params.log_total));
  ${name}[at] = made.x;
  if (lane.has_second) { ${name}[at + 1u] = made.y; }
}
#endif
