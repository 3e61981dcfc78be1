/**
 * `visible_of(row)`: keys from this one on are hidden from the query, by causality or by the sequence's length. Needs
 * `rowAt`; `lengthOfRow` is a WGSL expression for the i32 length of the row's sequence.
 */
export function visibleOf(
  causal: boolean,
  keyLengths: boolean,
  lengthOfRow = 'key_lengths[row.batch]',
): string {
  return `
fn visible_of(row: Row) -> u32 {
  var visible = params.key_length;
  ${causal ? 'visible = min(visible, u32(max(0, i32(row.query + 1u) + params.query_start)));' : ''}
  ${keyLengths ? `visible = min(visible, u32(max(0, ${lengthOfRow})));` : ''}
  return visible;
}`;
}
