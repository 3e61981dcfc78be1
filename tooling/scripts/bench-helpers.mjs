// What benchmarks of several packages share; they import it from `bench/` and, compiled, from `.bench/` beside it.
import { readFileSync, writeFileSync } from 'node:fs';

/** @param {string} name @returns {number | undefined} */
function statusBytes(name) {
  if (process.platform !== 'linux') return undefined;
  const line = new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return line === null ? undefined : Number(line[1]) * 1024;
}

/**
 * Largest resident bytes of this process, since `restartPeak` if the system allows. On Linux from its own memory map:
 * the figure of `resourceUsage` also counts the parent's at the moment of the fork.
 */
export function peakBytes() {
  return statusBytes('VmHWM') ?? process.resourceUsage().maxRSS * 1024;
}

/** Makes `peakBytes` count from the current resident bytes, and returns those. */
export function restartPeak() {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Not Linux, or not allowed: the peak is that of the whole process.
  }
  return statusBytes('VmRSS') ?? process.memoryUsage().rss;
}

/** @param {number} count @param {number} seed */
export function numbers(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const values = new Float32Array(count);
  for (let at = 0; at < count; at++) values[at] = (uniform() + uniform() + uniform()) * 2;
  return values;
}

/** @param {readonly (readonly string[])[]} lines */
export function markdownTable(lines) {
  const [head = []] = lines;
  const widths = head.map((_, column) => Math.max(3, ...lines.map((line) => (line[column] ?? '').length)));
  /** @param {readonly string[]} line */
  const show = (line) => `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [show(head), show(widths.map((width) => '-'.repeat(width))), ...lines.slice(1).map(show)].join('\n');
}
