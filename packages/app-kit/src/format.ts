/** 850 -> "850 ms", 12_345 -> "12.3 s", 200_000 -> "3 min 20 s". */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** 15400 -> "15,400". */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}

/** Bytes in whole MiB, without the unit, as table cells show them. */
export function formatMebibytes(bytes: number): string {
  return formatCount(Math.round(bytes / 2 ** 20));
}
