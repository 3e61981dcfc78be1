import type { GraphProto, ModelProto } from '../../onnx/messages.js';
import { type Observed, settle, type View } from './settle.js';
import { type Extents, symbolsOf } from './symbols.js';

/** A value for two different choices of all open extents, so that what follows a length is told from what is fixed. */
export interface Axes {
  readonly type: number;
  readonly dims: readonly number[];
  readonly again: readonly number[];
}

/** Small, so that tables of positions are long enough, and no common width or number of heads. */
const PRIMES = [
  7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
];

/** What `learnAxes` noted: extents of values, for two different choices of all open extents. */
export interface LearnedAxes {
  readonly choices: readonly [Extents, Extents];
  readonly observed: readonly [Observed, Observed];
}

/**
 * Two numbers for every open extent, all of them different.
 *
 * @param given Extents that the caller names, where made-up ones would not do, such as the size of an image.
 */
export function choicesOf(symbols: readonly string[], given: Extents): readonly [Extents, Extents] {
  const choose = (shift: number): Extents =>
    new Map(
      symbols.map((name, at) => {
        const prime = PRIMES[(at * 2 + shift) % PRIMES.length] as number;
        return [name, given.get(name) ?? prime] as const;
      }),
    );
  return [choose(0), choose(1)];
}

/** What is known of the axes of all values of a model. */
export class Lengths {
  readonly first: View;
  readonly #second: View;
  /** Under the extents that reports are for. */
  readonly reported: View;

  /**
   * @param given Extents that the caller names, where made-up ones would not do, such as the size of an image.
   * @param at Extents that reports are for.
   * @param learned What is used where a value's extents cannot be told without a run.
   */
  constructor(model: ModelProto, given: Extents, at: Extents = given, learned?: LearnedAxes) {
    const choices = [...choicesOf(symbolsOf(model), given), at];
    const [first, second, reported] = settle(model, choices, (name) => !given.has(name), learned?.observed);
    this.first = first as View;
    this.#second = second as View;
    this.reported = reported as View;
  }

  axes(graph: GraphProto, name: string): Axes | undefined {
    const first = this.first.known(graph, name);
    const second = this.#second.known(graph, name);
    if (first === undefined || second === undefined || first.dims.length !== second.dims.length)
      return undefined;
    const reported = this.reported.known(graph, name)?.dims;
    // Strides may leave the same of both small choices, but not of the longer extents that reports are for.
    const isFixed = (extent: number, axis: number): boolean =>
      extent === first.dims[axis] && reported?.length === first.dims.length;
    // Where nothing is left of a table of positions, the extents for reports are more than the model takes.
    const again = second.dims.map((extent, axis) =>
      isFixed(extent, axis) ? reported?.[axis] || extent : extent,
    );
    return { type: first.type, dims: first.dims, again };
  }

  /** The values of a short list, if they are the same whatever the lengths. */
  fixedValues(graph: GraphProto, name: string): readonly number[] | undefined {
    const first = this.first.known(graph, name)?.values;
    const second = this.#second.known(graph, name)?.values;
    const reported = this.reported.known(graph, name)?.values ?? first;
    if (first === undefined || second === undefined) return undefined;
    return `${first}` === `${second}` && `${first}` === `${reported}` ? first : undefined;
  }
}

/** An extent under both choices. */
export interface Length {
  readonly one: number;
  readonly two: number;
}

/** @param fromRight 0 for the last axis. */
export function lengthAt({ dims, again }: Axes, fromRight: number): Length {
  return { one: dims.at(-1 - fromRight) ?? 1, two: again.at(-1 - fromRight) ?? 1 };
}

export function isSame(a: Length, b: Length): boolean {
  return a.one === b.one && a.two === b.two;
}

export function isOne({ one, two }: Length): boolean {
  return one === 1 && two === 1;
}

/** Whether an extent is the same whatever the model is given. */
export function isFixed({ one, two }: Length): boolean {
  return one === two;
}
