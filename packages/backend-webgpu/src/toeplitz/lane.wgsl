/** Where a lane of the tile is. Sizes are those of `params`. */
struct Lane {
  is_inside: bool,
  /** Of its first number among the parts, and from one number to the next. */
  at: u32,
  stride: u32,
  /** Position in the sequence of the first number, and from one to the next. */
  position: u32,
  /** What is turned: the position within a row. */
  offset: u32,
  /** Of the first of two columns, at token 0, in what is bound of the tensors. */
  column: u32,
  has_second: bool,
}

/** Of so many series of each head. Workgroups in y are rows, or else lanes of all rows follow each other. */
fn lane_of(group: vec3u, local: u32, count: u32) -> Lane {
  let q = (group.x << params.log_lanes) + (local & ((1u << params.log_lanes) - 1u));
  let stride = params.step * count;
  let row = group.y + q / stride;
  let in_row = q % stride;
  let offset = in_row / count;
  let series = params.first_series + in_row % count;
  let pair = series % params.pairs;
  let sequence = (series / params.pairs) * params.heads + params.first_head + group.z - params.first_sequence;
  return Lane(
    q < stride * params.rows,
    (group.z << params.log_total) * count + row * (stride << params.log_length) + in_row,
    stride,
    (row << params.log_length) + offset,
    offset,
    sequence * params.tokens * params.columns + 2u * pair,
    2u * pair + 1u < params.columns,
  );
}
