/**
 * Where a text stops: at the first of the strings in it. `end` is where it begins; without one, as far as the text is sure
 * to go on: what may be the beginning of a stop string is held back.
 *
 * @param from stop strings do not begin before
 */
export function stopIn(
  text: string,
  strings: readonly string[],
  from = 0,
): { readonly end: number; readonly isStopped: boolean } {
  let end = Number.POSITIVE_INFINITY;
  for (const one of strings) {
    const at = text.indexOf(one, from);
    if (at !== -1) end = Math.min(end, at);
  }
  if (end !== Number.POSITIVE_INFINITY) return { end, isStopped: true };
  const longest = Math.max(0, ...strings.map((one) => one.length));
  for (let at = Math.max(from, text.length - longest + 1); at < text.length; at++) {
    const rest = text.slice(at);
    if (strings.some((one) => one.startsWith(rest))) return { end: at, isStopped: false };
  }
  return { end: text.length, isStopped: false };
}
