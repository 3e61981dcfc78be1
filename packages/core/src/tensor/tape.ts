import type { Operations } from './operations.js';
import type { Tensor, Value } from './tensor.js';

/** What a rule saved, by place: undefined where no gradient that is wanted needs it. */
export type Saved = readonly (Tensor | undefined)[];

/**
 * The gradients of one op: from cotangents of its outputs (undefined: none arrived) to those of its inputs. `wanted` says which
 * inputs a tape follows: the others' gradients are not used, and a rule may leave them out.
 */
export type BackwardRule = (
  ops: Operations,
  cotangents: readonly (Tensor | undefined)[],
  saved: Saved,
  wanted: readonly boolean[],
) => readonly (Tensor | undefined)[];

export interface TapeEntry {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** Aliases the tape owns until it is disposed. */
  readonly saved: Saved;
  readonly backward: BackwardRule;
}

/** A function that the backward pass runs again: it stands for the entries of its ops, which were not kept. */
export interface RerunEntry extends Omit<TapeEntry, 'backward'> {
  /** Runs it on the saved tensors: its results in the order of `outputs`. */
  readonly rerun: (saved: Saved) => readonly Tensor[];
}

/** What happened to the tracked values, in order. Values are keyed by identity, not by handle. */
export class Tape {
  readonly entries: (TapeEntry | RerunEntry)[] = [];
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

  record(entry: TapeEntry | RerunEntry): void {
    for (const output of entry.outputs) this.#tracked.add(output);
    this.entries.push(entry);
  }

  dispose(): void {
    this.#disposed = true;
    for (const entry of this.entries) for (const one of entry.saved) one?.dispose();
    this.entries.length = 0;
    this.#tracked.clear();
  }
}

/**
 * Follows what other tapes follow, and keeps nothing of it. Ops inside do the same work as with those tapes: some choose
 * another kernel when no tape follows their inputs.
 */
export class ForgetfulTape extends Tape {
  readonly #outer: readonly Tape[];
  readonly #made = new Set<Value>();
  /** Values from outside that gradients would flow to. */
  readonly used: Set<Value> = new Set();

  constructor(outer: readonly Tape[]) {
    super();
    this.#outer = outer;
  }

  override tracks(value: Value): boolean {
    return this.#made.has(value) || this.#isFromOutside(value);
  }

  /** Whether an op of this tape made the value. */
  made(value: Value): boolean {
    return this.#made.has(value);
  }

  override record({ inputs, outputs, saved }: TapeEntry | RerunEntry): void {
    for (const one of saved) one?.dispose();
    for (const input of inputs) if (this.#isFromOutside(input)) this.used.add(input);
    for (const output of outputs) this.#made.add(output);
  }

  #isFromOutside(value: Value): boolean {
    return this.#outer.some((tape) => tape.tracks(value));
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

/** Runs `body` with a forgetful tape in place of the open ones. */
export function forgetting<R>(body: () => R): {
  readonly result: R;
  readonly tape: ForgetfulTape;
  readonly outer: readonly Tape[];
} {
  const outer = [...tapes];
  const tape = new ForgetfulTape(outer);
  return { result: withoutTapes(() => withTape(tape, body)), tape, outer };
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
