import type { Operations } from './operations.js';
import type { Tensor, Value } from './tensor.js';

/** The gradients of one op: from cotangents of its outputs (undefined: none arrived) to those of its inputs. */
export type BackwardRule = (
  ops: Operations,
  cotangents: readonly (Tensor | undefined)[],
  saved: readonly Tensor[],
) => readonly (Tensor | undefined)[];

export interface TapeEntry {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** Aliases the tape owns until it is disposed. */
  readonly saved: readonly Tensor[];
  readonly backward: BackwardRule;
}

/** What happened to the tracked values, in order. Values are keyed by identity, not by handle. */
export class Tape {
  readonly entries: TapeEntry[] = [];
  readonly #tracked = new Set<Value>();
  #disposed = false;

  get isDisposed(): boolean {
    return this.#disposed;
  }

  track(value: Value): void {
    this.#tracked.add(value);
  }

  tracks(value: Value): boolean {
    return this.#tracked.has(value);
  }

  record(entry: TapeEntry): void {
    for (const output of entry.outputs) this.#tracked.add(output);
    this.entries.push(entry);
  }

  dispose(): void {
    this.#disposed = true;
    for (const entry of this.entries) for (const one of entry.saved) one.dispose();
    this.entries.length = 0;
    this.#tracked.clear();
  }
}

const tapes: Tape[] = [];

/** Whether any tape is open. */
export function hasOpenTape(): boolean {
  return tapes.length > 0;
}

/** The open tapes that follow one of these values. */
export function tapesTracking(values: readonly Value[]): Tape[] {
  return tapes.filter((tape) => values.some((value) => tape.tracks(value)));
}

/** Runs `body` with `tape` open. */
export function withTape<R>(tape: Tape, body: () => R): R {
  tapes.push(tape);
  try {
    return body();
  } finally {
    tapes.pop();
  }
}

/** Runs `body` with no tape open: for the inside of an op that has its own rule. */
export function withoutTapes<R>(body: () => R): R {
  const open = tapes.splice(0);
  try {
    return body();
  } finally {
    tapes.push(...open);
  }
}
