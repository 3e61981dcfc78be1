/** Largest resident bytes of this process, since `restartPeak` where the system can. */
export function peakBytes(): number;
/** Makes `peakBytes` count from the resident bytes of now, and returns those. */
export function restartPeak(): number;
/** Roughly normal numbers, the same on every run. */
export function numbers(count: number, seed: number): Float32Array;
/** Lines of cells as a Markdown table; the first line is its head. */
export function markdownTable(lines: readonly (readonly string[])[]): string;
