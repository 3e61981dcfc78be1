import { formatDuration } from '../format.js';
import type { OutputStream } from './output-stream.js';

const BAR_WIDTH = 24;
const CLEAR_LINE = '\r\u001b[2K';
/** Redrawing more often than this only flickers. */
const MIN_INTERVAL_MS = 80;
/** A step can take long: meanwhile the clock keeps running, and the bar moves at the pace of the earlier steps. */
const REDRAW_MS = 500;
/** Without a terminal to draw on, a line this often shows that the run is alive. */
const LINE_MS = 30_000;
/** The most that is ever shown of an unfinished step. */
const MOST_OF_A_STEP = 0.9;

interface State {
  readonly done: number;
  readonly total: number;
  readonly label: string;
  readonly hasTimeLeft: boolean;
  /** When this state was reported. */
  readonly at: number;
}

/**
 * A progress bar on one line of a terminal. Elsewhere it is silent at first, then writes a line now and then to show
 * that a long run is alive.
 */
export class ProgressBar {
  readonly #stream: OutputStream;
  readonly #isSilent: boolean;
  #started: number = Date.now();
  #first = 0;
  #isDrawn = false;
  #written: number = Date.now();
  #state: State | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param isSilent write nothing if the stream is not a terminal, however long it takes */
  constructor(stream: OutputStream, isSilent = false) {
    this.#stream = stream;
    this.#isSilent = isSilent && stream.isTTY !== true;
    if (stream.isTTY) this.#written = 0;
  }

  /** With `hasTimeLeft` the bar estimates the time left from the speed since the first update. */
  update(done: number, total: number, label: string, hasTimeLeft = false): void {
    // A different total means another stage, with its own speed.
    if (this.#state?.total !== total) {
      this.#first = done;
      this.#started = Date.now();
    }
    this.#state = { done, total, label, hasTimeLeft, at: Date.now() };
    this.#timer ??= setInterval(() => this.#show(), REDRAW_MS).unref();
    this.#show();
  }

  /** Removes the bar from the line. */
  clear(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#isDrawn) this.#stream.write(CLEAR_LINE);
    this.#isDrawn = false;
  }

  #show(): void {
    const now = Date.now();
    const isTerminal = this.#stream.isTTY === true;
    if (
      this.#state === undefined ||
      this.#isSilent ||
      now - this.#written < (isTerminal ? MIN_INTERVAL_MS : LINE_MS)
    )
      return;
    this.#written = now;
    if (!isTerminal) {
      this.#stream.write(`${this.#text(this.#state, now)}\n`);
      return;
    }
    this.#isDrawn = true;
    const { total } = this.#state;
    const filled = Math.round((BAR_WIDTH * this.#position(this.#state, now)) / Math.max(1, total));
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
    const line = `${bar} ${this.#text(this.#state, now)}`;
    this.#stream.write(CLEAR_LINE + line.slice(0, (this.#stream.columns || 80) - 1));
  }

  #text(state: State, now: number): string {
    const { done, total, label, hasTimeLeft } = state;
    const each = this.#millisecondsEach(state);
    const left =
      hasTimeLeft && each !== undefined
        ? `about ${formatDuration(Math.max(0, each * (total - this.#position(state, now))))} left  `
        : '';
    const passed = now - this.#started;
    return `${done}/${total}  ${left}${label}${passed < 1000 ? '' : `, ${formatDuration(passed)} so far`}`;
  }

  /** Steps done, plus a part of the next one estimated from the time. */
  #position(state: State, now: number): number {
    const each = this.#millisecondsEach(state);
    const part = each === undefined || state.done >= state.total ? 0 : (now - state.at) / Math.max(1, each);
    return state.done + Math.min(MOST_OF_A_STEP, part);
  }

  /** Average over the steps since the first update. */
  #millisecondsEach({ done, at }: State): number | undefined {
    const fresh = done - this.#first;
    return fresh > 0 ? (at - this.#started) / fresh : undefined;
  }
}
