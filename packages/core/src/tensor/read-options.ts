import { TopKError } from '../contract/errors.js';
import { describeValue } from './describe-value.js';
import { Tensor } from './tensor.js';

/** What an option may hold. Kinds, not ranges: a function that wants a positive number checks the number itself. */
interface Kind {
  /** Completes "expected ...". */
  readonly what: string;
  readonly is: (value: unknown) => boolean;
  /** Set by `required` and `checkedLater`: an option that the interface requires. */
  readonly required?: boolean;
  /** The nested options, if the option is an object of options. */
  readonly inner?: Kinds;
  /** The words allowed, for the advice in an error. */
  readonly words?: readonly string[];
}

type Kinds = Readonly<Record<string, Kind>>;

/** The kind of an option of type T. A description that does not fit its interface does not compile. */
export interface OptionKind<in out T> extends Kind {
  /** Never set: ties the kind to its type. */
  readonly type?: (value: T) => T;
}

type IsOptional<O, Name extends keyof O> = Record<never, never> extends Pick<O, Name> ? true : false;

/** The kind of every option of an interface: no extra names, none missing, each of the right type. */
export type OptionKinds<O> = {
  readonly [Name in keyof O]-?: IsOptional<O, Name> extends true
    ? OptionKind<Exclude<O[Name], undefined>>
    : OptionKind<O[Name]> & { readonly required: boolean };
};

export const aBoolean: OptionKind<boolean> = {
  what: 'true or false',
  is: (value) => typeof value === 'boolean',
};
export const aNumber: OptionKind<number> = { what: 'a number', is: (value) => typeof value === 'number' };
export const aString: OptionKind<string> = { what: 'a string', is: (value) => typeof value === 'string' };
export const aTensor: OptionKind<Tensor> = {
  what: 'a Tensor from @topk-attention/core',
  is: (value) => value instanceof Tensor,
};

/** One of the given words. */
export function oneOf<const T extends string>(...words: readonly T[]): OptionKind<T> {
  return {
    what: words.map((word) => `'${word}'`).join(' or '),
    is: (value) => (words as readonly unknown[]).includes(value),
    words,
  };
}

/** Anything that `is` accepts; `what` completes "expected ...". */
export function aValue<T>(what: string, is: (value: unknown) => boolean): OptionKind<T> {
  return { what, is };
}

export function aFunction<T>(what = 'a function'): OptionKind<T> {
  return { what, is: (value) => typeof value === 'function' };
}

/** An array, or a typed array, whose entries the caller checks. */
export function anArray<T>(what = 'an array'): OptionKind<T> {
  return {
    what,
    is: (value) => Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView)),
  };
}

/** Either of two kinds. */
export function either<A, B>(a: OptionKind<A>, b: OptionKind<B>): OptionKind<A | B> {
  return { what: `${a.what}, or ${b.what}`, is: (value) => a.is(value) || b.is(value) };
}

/** A nested object of options, read by the same rules. */
export function optionsWithin<T extends object>(kinds: OptionKinds<NoInfer<T>>): OptionKind<T> {
  return { what: 'an object', is: isOptions, inner: kinds };
}

/** An option that must be there. */
export function required<T>(kind: OptionKind<T>): OptionKind<T> & { readonly required: true } {
  return { ...kind, required: true };
}

/** An option that must be there, but whose absence the function itself reports with its own error. */
export function checkedLater<T>(): OptionKind<T> & { readonly required: false } {
  return { what: 'anything', is: () => true, required: false };
}

/**
 * Checks the options of a public function: an object without unknown names, each value of its kind. `undefined` means
 * no options, and an option that is `undefined` counts as not given. Every public function of every package reads its
 * options with this, so that a misspelt name never silently means a default.
 *
 * @param where the public name of the function, which begins the message
 * @throws TopKError INVALID_OPTION with the name, what was expected, what arrived, and the nearest existing name
 *
 * @example
 * const kinds: OptionKinds<ReduceOptions> = { axes: anArray(), keepDims: aBoolean };
 * const { axes, keepDims = false } = readOptions('sum', options, kinds);
 */
export function readOptions<O extends object>(where: string, given: O | undefined, kinds: OptionKinds<O>): O {
  const known: Kinds = kinds;
  if (given !== undefined && !isOptions(given)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad options`, {
      expected: `an object of ${namesIn(Object.keys(known))}`,
      got: describeValue(given),
    });
  }
  const options = given ?? ({} as O);
  checkWithin(where, '', options as Readonly<Record<string, unknown>>, known);
  return options;
}

function checkWithin(
  where: string,
  path: string,
  given: Readonly<Record<string, unknown>>,
  kinds: Kinds,
): void {
  for (const name in given) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) throw unknownOption(where, path + name, name, Object.keys(kinds));
    const value = given[name];
    if (value === undefined) continue;
    if (!kind.is(value)) throw badOption(where, path + name, kind, value);
    if (kind.inner === undefined) continue;
    checkWithin(where, `${path}${name}.`, value as Readonly<Record<string, unknown>>, kind.inner);
  }
  for (const name in kinds) {
    const kind = kinds[name] as Kind;
    if (kind.required !== true || given[name] !== undefined) continue;
    throw badOption(where, path + name, kind, undefined);
  }
}

/** For "expected ...". */
function namesIn(known: readonly string[]): string {
  return known.length === 0 ? 'no options' : known.join(', ');
}

/** Whether an object can be a set of options: not an array, and not an instance of some other class. */
function isOptions(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Tensor) &&
    !(Symbol.toStringTag in value)
  );
}

function unknownOption(where: string, full: string, name: string, known: readonly string[]): TopKError {
  const meant = nearest(name, known);
  return new TopKError('INVALID_OPTION', `${where}: unknown option '${full}'`, {
    expected: namesIn(known),
    got: full,
    ...(meant !== undefined && { fix: `Did you mean ${meant}?` }),
  });
}

function badOption(where: string, full: string, kind: Kind, value: unknown): TopKError {
  const meant = typeof value === 'string' && kind.words ? nearest(value, kind.words) : undefined;
  return new TopKError('INVALID_OPTION', `${where}: bad ${full}`, {
    expected: kind.what,
    got: describeValue(value),
    ...(meant !== undefined && { fix: `Did you mean '${meant}'?` }),
  });
}

/** The candidate that a name was probably meant to be, by the fewest letters to change; undefined if none is near. */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  const wanted = plain(name);
  let best: string | undefined;
  let least = Math.ceil(wanted.length / 3) + 1;
  for (const candidate of candidates) {
    const isPart = wanted.length > 2 && plain(candidate).includes(wanted);
    const changes = isPart ? 0.5 : lettersToChange(wanted, plain(candidate));
    if (changes < least) {
      least = changes;
      best = candidate;
    }
  }
  return best;
}

/** Levenshtein's distance. */
function lettersToChange(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
