const BAR_WIDTH = 24;
const CLEAR_LINE = '\r\u001b[2K';
/** Redrawing more often than this only flickers. */
const MIN_INTERVAL_MS = 80;

/** What the bar needs of a stream such as `process.stderr`. */
export interface BarStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** A progress bar on one line of a terminal; silent where the stream is not one. */
export class ProgressBar {
  readonly #stream: BarStream;
  readonly #started: number = Date.now();
  #first: number | undefined;
  #isDrawn = false;
  #drawn = 0;

  constructor(stream: BarStream) {
    this.#stream = stream;
  }

  /** With `hasTimeLeft` the bar says how long the rest takes at the speed since the first update. */
  update(done: number, total: number, label: string, hasTimeLeft = false): void {
    const now = Date.now();
    this.#first ??= done;
    if (!this.#stream.isTTY || now - this.#drawn < MIN_INTERVAL_MS) return;
    this.#drawn = now;
    this.#isDrawn = true;
    const filled = Math.round((BAR_WIDTH * done) / Math.max(1, total));
    const fresh = done - this.#first;
    const left =
      hasTimeLeft && fresh > 0
        ? `${formatDuration(((now - this.#started) / fresh) * (total - done))} left  `
        : '';
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
    const line = `${bar} ${done}/${total}  ${left}${label}`;
    this.#stream.write(CLEAR_LINE + line.slice(0, (this.#stream.columns || 80) - 1));
  }

  /** Removes the bar from the line. */
  clear(): void {
    if (this.#isDrawn) this.#stream.write(CLEAR_LINE);
    this.#isDrawn = false;
  }
}

/** 850 -> "850 ms", 12_345 -> "12.3 s", 200_000 -> "3 min 20 s". */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
