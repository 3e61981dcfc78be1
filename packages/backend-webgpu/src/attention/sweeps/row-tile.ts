/**
 * `tile_sees(key_head, first_row, rows)`: the fewest and the most keys seen by any row of a tile. Needs `rowAt` and
 * `visible_of`.
 */
export function tileSees(tileRows: number): string {
  return `
fn tile_sees(key_head: u32, first_row: u32, rows: u32) -> vec2u {
  let last_row = min(first_row + ${tileRows - 1}u, rows - 1u);
  let start = key_head * rows;
  if (first_row / params.queries == last_row / params.queries) {
    return vec2u(visible_of(row_at(start + first_row)), visible_of(row_at(start + last_row)));
  }
  // Rows of more than one head: from the first query of the part to the last.
  return vec2u(visible_of(row_at(start)), visible_of(row_at(start + params.queries - 1u)));
}`;
}

/**
 * Keys of a sample: one in 2^shift, at a place picked by a hash, so that the sample cannot fall in step with periodic
 * keys.
 */
export const sampledKey = `
fn sampled_key(j: u32, shift: u32) -> u32 {
  var x = j * 747796405u + 2891336453u;
  x = ((x >> ((x >> 28u) + 4u)) ^ x) * 277803737u;
  x = (x >> 22u) ^ x;
  return (j << shift) + (x & ((1u << shift) - 1u));
}`;
