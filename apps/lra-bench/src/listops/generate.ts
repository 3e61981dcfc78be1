import { below, rowRandom } from '../data/row-random.js';
import { applyOperator, CLOSE, FIRST_OPERATOR, type Operator, operators, ZERO } from './vocabulary.js';

/** How expressions are drawn. */
export interface ListOpsSettings {
  /** Deepest level; the root is level 1. */
  readonly maxDepth: number;
  /** Chance that an argument is an expression, above the deepest level. Default 0.25. */
  readonly nesting: number;
  /** Arguments of an operator. */
  readonly minArguments: number;
  readonly maxArguments: number;
  /** Tokens without parentheses are more than this. */
  readonly minLength: number;
  /** Tokens without parentheses are fewer than this. */
  readonly maxLength: number;
}

export const publishedListOps: ListOpsSettings = {
  maxDepth: 10,
  nesting: 0.25,
  minArguments: 2,
  maxArguments: 10,
  minLength: 500,
  maxLength: 2000,
};

export interface Expression {
  /** Ids of its words, without parentheses. */
  readonly ids: Uint8Array;
  /** Its value, the answer: 0 to 9. */
  readonly value: number;
}

/** The expression of a row: drawn again and again until its length is within the bounds. */
export function expressionOf(
  settings: ListOpsSettings,
  seed: number,
  split: number,
  row: number,
): Expression {
  const random = rowRandom(seed, split, row);
  const ids = new Uint8Array(settings.maxLength);
  while (true) {
    const draw = new Draw(settings, random, ids);
    const value = draw.expression(1);
    if (draw.length > settings.minLength && draw.length < settings.maxLength) {
      return { ids: ids.slice(0, draw.length), value };
    }
  }
}

/** One attempt. It stops as soon as the expression is too long, which changes no other expression's chance. */
class Draw {
  readonly #settings: ListOpsSettings;
  readonly #random: () => number;
  readonly #ids: Uint8Array;
  length = 0;

  constructor(settings: ListOpsSettings, random: () => number, ids: Uint8Array) {
    this.#settings = settings;
    this.#random = random;
    this.#ids = ids;
  }

  /** Writes an expression of a level and returns its value. */
  expression(depth: number): number {
    const { maxDepth, nesting, minArguments, maxArguments, maxLength } = this.#settings;
    const isLeaf = depth >= maxDepth || this.#random() > nesting;
    if (isLeaf) {
      const digit = below(this.#random, 10);
      this.#write(ZERO + digit);
      return digit;
    }
    const count = minArguments + below(this.#random, maxArguments - minArguments + 1);
    const at = this.length;
    this.#write(0);
    const values: number[] = [];
    while (values.length < count && this.length < maxLength) values.push(this.expression(depth + 1));
    // Drawn last, as the published generator does.
    const operator = below(this.#random, operators.length);
    this.#ids[at] = FIRST_OPERATOR + operator;
    this.#write(CLOSE);
    return applyOperator(operators[operator] as Operator, values);
  }

  #write(id: number): void {
    if (this.length < this.#ids.length) this.#ids[this.length] = id;
    this.length++;
  }
}
